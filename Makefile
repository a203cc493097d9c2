# walpipe: the whole build. `make help` lists what can be made.
#
# CFLAGS, CPPFLAGS and LDFLAGS are the builder's; hardening is their default,
# so that a package build's own replaces it. What the code needs is in STD and
# WARN. Everything made lands in $(BUILD).

CC ?= cc
AR ?= ar
PKG_CONFIG ?= pkg-config
PYTHON = /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=

VERSION = 0.1.0
LIBS = libcjson libxxhash yaml-0.1 libcurl libcrypto libseccomp

ifdef SAN
BUILD ?= build/san
CFLAGS ?= -O1 -g -fno-omit-frame-pointer
CPPFLAGS ?=
LDFLAGS ?=
SANFLAGS = -fsanitize=$(SAN) -fno-sanitize-recover=all -DCONFINE_NOTHING
# A walproc takes ten times as long there, and is started for each state.
export POWER_STATES ?= 200
else
BUILD ?= build
CFLAGS ?= -O2 -g -fPIE -fstack-protector-strong -fstack-clash-protection
CPPFLAGS ?= -D_FORTIFY_SOURCE=2
LDFLAGS ?= -pie -Wl,-z,relro,-z,now
SANFLAGS =
endif

# What is done for each event stands in several files: linked as one program it
# takes a tenth less time. Tests are linked without it, and need the plain code.
ifndef SAN
LTO ?= $(if $(shell $(CC) --version | grep -i 'free software'),-flto=auto)
endif
LTO_OBJECTS = $(if $(LTO),$(LTO) -ffat-lto-objects)

STD = -std=c11 -pthread -D_GNU_SOURCE -DWALPIPE_VERSION='"$(VERSION)"' -I.
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef \
    -Wconversion -Wno-sign-conversion
ifdef WERROR
WARN += -Werror
endif

# One short line a file; V=1 shows the commands.
ifdef V
say = 
else
say = @printf '  %-4s %s\n' $(1) $@;
endif

# Asked for late, in the recipes: `make check` may be what installs them.
LIB_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(LIBS))
LIB_LDLIBS = $(shell $(PKG_CONFIG) --libs $(LIBS))

PROGRAMS = supervisor metronome onramp walproc wssink
BINS = $(PROGRAMS:%=$(BUILD)/bin/%)
ARCHIVES = $(PROGRAMS:%=$(BUILD)/lib%.a) $(BUILD)/libstage.a

objects = $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
CHECKS = $(patsubst t/%.c,$(BUILD)/t/%,$(wildcard t/check_*.c))
FUZZERS = $(patsubst t/%.c,$(BUILD)/t/%,$(wildcard t/fuzz_*.c))

.PHONY: all check check-unit check-programs check-built soak clean install \
    deps demo lint format fuzz fuzz-objects bench bench-peers help
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BINS)

help:
	@echo 'make            build the programs into $(BUILD)/bin'
	@echo 'make demo       install what is missing, build, show it running'
	@echo 'make check      install what is missing, build, run every test'
	@echo 'make soak       what make check tries by chance, for half an hour'
	@echo 'make bench      how fast it is here, and what the machine can do at all:'
	@echo '                QUICK=1 within a minute, PEERS=1 others'"'"' logs too,'
	@echo '                ONLY=NAME,NAME of it, RUNS=N rounds, DIR=where to write'
	@echo 'make install    into DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)'
	@echo 'make deps       install what is missing from Debian packages'
	@echo 'make lint       style and static checks'
	@echo 'make format     format the sources, as make lint wants them'
	@echo 'make fuzz       run each fuzz target for FUZZ_SECONDS'
	@echo 'make clean      remove $(BUILD)'
	@echo 'make check SAN=address,undefined   the same under sanitizers'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(STD) $(WARN) $(CPPFLAGS) $(CFLAGS) $(SANFLAGS) $(LIB_CFLAGS) \
	    $(LTO_OBJECTS) -MMD -MP -c -o $@ $<

$(BUILD)/libstage.a: $(call objects,stage)
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

define program_rules
$(BUILD)/lib$(1).a: $(call objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call say,AR)$$(AR) rcs $$@ $$^

$(BUILD)/bin/$(1): $(BUILD)/$(1)/main.o $(BUILD)/lib$(1).a $(BUILD)/libstage.a
	@mkdir -p $$(@D)
	$$(call say,LD)$$(CC) $$(CFLAGS) $$(LTO) $$(SANFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIB_LDLIBS)
endef
$(foreach program,$(PROGRAMS),$(eval $(call program_rules,$(program))))

# What a unit test replaces with the linker's --wrap, by test.
wrap = $(WRAP_$(notdir $(1)):%=-Wl,--wrap=%)
WRAP_check_ahead = pwrite
WRAP_check_io = pread pwrite read write
WRAP_check_log = clock_gettime
WRAP_check_client = clock_gettime
WRAP_check_patience = clock_gettime
WRAP_check_journal = clock_gettime write
WRAP_check_recover = fdatasync
WRAP_check_damage = pread
WRAP_check_model = pwrite fdatasync unlinkat renameat
WRAP_check_sinks = pwrite fdatasync unlinkat renameat

# What tests share; only what one asks for is linked.
$(BUILD)/t/shared.a: $(addprefix $(BUILD)/t/,chain_world.o damage.o log_dir.o \
    model.o patch_reference.o patch_same.o power.o rewind.o serving.o steps.o)
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

$(BUILD)/t/check_%: $(BUILD)/t/check_%.o $(BUILD)/t/shared.a $(ARCHIVES)
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) $(call wrap,$@) -o $@ $< \
	    $(BUILD)/t/shared.a $(ARCHIVES) $(LIB_LDLIBS) $$($(PKG_CONFIG) --libs check)

# Without a fuzzer's engine a target replays the files it is given.
$(BUILD)/t/fuzz_%: $(BUILD)/t/fuzz_%.o $(BUILD)/t/replay.o $(BUILD)/t/shared.a \
    $(ARCHIVES)
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/t/replay.o \
	    $(BUILD)/t/shared.a $(ARCHIVES) $(LIB_LDLIBS)

SHIMS = $(addprefix $(BUILD)/t/,shim.so shim_clock.so shim_confine.so \
    shim_control.so shim_fault.so shim_power.so shim_socket.so shim_tools.so)
$(BUILD)/t/shim.so: t/shim.c
$(BUILD)/t/shim_clock.so: t/shim_clock.c
$(BUILD)/t/shim_confine.so: t/shim_confine.c
$(BUILD)/t/shim_control.so: t/shim_control.c
$(BUILD)/t/shim_fault.so: t/shim_fault.c t/shim_calls.c t/shim_memory.c \
    t/shim_fault.h
$(BUILD)/t/shim_power.so: t/shim_power.c
$(BUILD)/t/shim_socket.so: t/shim_socket.c
$(BUILD)/t/shim_tools.so: t/shim_tools.c
$(SHIMS):
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(STD) $(WARN) -fPIC -shared -o $@ $(filter %.c,$^) -ldl

$(BUILD)/t/powerfs: $(BUILD)/t/powerfs.o $(BUILD)/t/powerfs_journal.o \
    $(BUILD)/libstage.a
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LDLIBS) \
	    $$($(PKG_CONFIG) --libs fuse3)

check: deps
	@$(MAKE) --no-print-directory check-built

check-built: check-unit check-programs

# What hangs is ended; 4 s, as by default, is too little for what is slow.
check-unit: export CK_DEFAULT_TIMEOUT ?= 600
check-unit: $(CHECKS) $(FUZZERS)
	@set -e; for t in $(CHECKS); do $$t; done
	@set -e; for f in $(FUZZERS); do \
	    $$f t/corpus/$$(basename $$f | sed s/fuzz_//)/* 2>$$f.log || \
	        { tail $$f.log >&2; exit 1; }; done

# The same tests with more of what is tried by chance: about half an hour on two
# cores. SOAK_SEED makes it another half hour.
SOAK_SEED ?= 1
soak: deps
	@$(MAKE) --no-print-directory all $(BUILD)/t/check_model \
	    $(BUILD)/t/check_sinks $(SHIMS) $(BUILD)/t/powerfs
	for n in 1 2 3 4 5 6 7 8; do \
	    MODEL_SEED=$$(($(SOAK_SEED) * 1000 + n)) MODEL_STEPS=20000 \
	        $(BUILD)/t/check_model && \
	    SINKS_SEED=$$(($(SOAK_SEED) * 1000 + n)) SINKS_STEPS=20000 \
	        $(BUILD)/t/check_sinks || exit 1; done
	WALPIPE_BIN=$(abspath $(BUILD))/bin POWER_SEEDS=20 POWER_STATES=2000 \
	    FAULT_ROUNDS=1000 FAULT_SEED=$(SOAK_SEED) $(PYTHON) -m pytest -q \
	    -rs -p no:cacheprovider -n $(JOBS) $(PYTEST_ARGS) \
	    t/test_power.py t/test_faults.py t/test_disk.py t/test_backlog.py
	WALPIPE_BIN=$(abspath $(BUILD))/bin NETWORK_SEED=$(SOAK_SEED) \
	    NETWORK_STEPS=200 BOUNCES=30 LOSS_SEED=$(SOAK_SEED) LOSS_KILLS=200 \
	    SERVERS_KILLS=20 POISON_KILLS=100 RESTARTS_SEED=$(SOAK_SEED) \
	    RESTARTS_KILLS=300 $(PYTHON) -m pytest -q -rs -p no:cacheprovider \
	    -n $(JOBS) $(PYTEST_ARGS) t/test_network.py t/test_bounce.py \
	    t/test_loss.py t/test_servers.py t/test_poison.py t/test_restarts.py
	WALPIPE_BIN=$(abspath $(BUILD))/bin KILLS=2000 KILLS_SEED=$(SOAK_SEED) \
	    RACES=500 $(PYTHON) -m pytest -q -rs -p no:cacheprovider \
	    -n $(JOBS) $(PYTEST_ARGS) t/test_kills.py t/test_race.py

BENCHES = $(addprefix $(BUILD)/t/,bench_ceiling bench_probe bench_server \
    bench_stage)
$(BENCHES): $(BUILD)/t/bench_%: $(BUILD)/t/bench_%.o $(BUILD)/t/bench_tools.o \
    $(BUILD)/libstage.a
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LDLIBS)

# What others' logs are timed with has nothing of ours in it but the events.
PEER_BENCHES = $(BUILD)/t/bench_sqlite $(BUILD)/t/bench_redis
$(BUILD)/t/bench_sqlite: $(BUILD)/t/bench_sqlite.o $(BUILD)/t/bench_tools.o
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ \
	    $$($(PKG_CONFIG) --libs sqlite3)
$(BUILD)/t/bench_redis: $(BUILD)/t/bench_redis.o $(BUILD)/t/bench_tools.o
	$(call say,LD)$(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS) -o $@ $^ \
	    $$($(PKG_CONFIG) --libs hiredis)

bench: deps
	$(if $(WITH_PEERS),@sh t/deps.sh bench-peers $(BUILD)/peers)
	@$(MAKE) -s --no-print-directory all $(BENCHES) \
	    $(if $(WITH_PEERS),$(PEER_BENCHES))
	@exec env WALPIPE_BIN=$(abspath $(BUILD))/bin $(PYTHON) t/bench.py \
	    $(if $(QUICK),--quick) $(if $(PEERS),--peers) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) \
	    $(if $(DIR),--dir '$(DIR)')
WITH_PEERS = $(PEERS)$(findstring peers,$(ONLY))

bench-peers:
	@sh t/deps.sh bench-peers $(BUILD)/peers
	@$(MAKE) --no-print-directory $(PEER_BENCHES)
	WALPIPE_BIN=$(abspath $(BUILD))/bin $(PYTHON) t/bench_peers.py \
	    --dir $(BUILD)/bench

# As many at a time as pay: these tests wait more than they work.
JOBS ?= 4
check-programs: $(BINS) $(BENCHES) $(SHIMS) $(BUILD)/t/powerfs
	WALPIPE_BIN=$(abspath $(BUILD))/bin $(PYTHON) -m pytest -q -rs \
	    -p no:cacheprovider -n $(JOBS) $(PYTEST_ARGS) t

deps:
	@sh t/deps.sh

demo: deps
	@$(MAKE) --no-print-directory all
	@WALPIPE_BIN=$(abspath $(BUILD))/bin $(PYTHON) t/demo.py

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/man/man5 \
	    $(DESTDIR)$(PREFIX)/share/doc/walpipe/tutorial
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(wildcard */*.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(wildcard */*.5) $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 README.md $(wildcard conf/*.yaml) conf/walpipe.logrotate \
	    $(DESTDIR)$(PREFIX)/share/doc/walpipe
	install -m 644 $(wildcard conf/tutorial/*) \
	    $(DESTDIR)$(PREFIX)/share/doc/walpipe/tutorial
	sed 's|/usr/local/|$(PREFIX)/|' conf/walpipe.service \
	    >$(BUILD)/walpipe.service
	install -m 644 $(BUILD)/walpipe.service \
	    $(DESTDIR)$(PREFIX)/share/doc/walpipe

C_FILES = $(wildcard stage/*.[ch] $(PROGRAMS:%=%/*.[ch]) t/*.[ch])

format:
	clang-format -i $(C_FILES)

lint:
	@sh t/deps.sh lint
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck -q --error-exitcode=1 --std=c11 --inline-suppr \
	    --enable=warning,performance,portability \
	    --suppress=missingIncludeSystem -D_GNU_SOURCE -I. \
	    '-DcJSON_ArrayForEach(e,a)=while ((e = next(e,a)))' \
	    $(filter %.c,$(C_FILES))
	shellcheck .ci/run $(wildcard t/*.sh)
	mandoc -Tlint -W warning $(wildcard */*.[15])

# libFuzzer comes with clang; each target runs for FUZZ_SECONDS.
FUZZ_SECONDS ?= 30
fuzz:
	@sh t/deps.sh lint
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/fuzz \
	    SAN=fuzzer-no-link,address,undefined fuzz-objects
	@set -e; for t in $(wildcard t/fuzz_*.c); do \
	    n=$$(basename $$t .c); m=$${n#fuzz_}; \
	    clang -fsanitize=fuzzer,address,undefined -o $(BUILD)/fuzz/$$n \
	        $(BUILD)/fuzz/t/$$n.o $(BUILD)/fuzz/t/shared.a \
	        $(ARCHIVES:$(BUILD)/%=$(BUILD)/fuzz/%) $(LIB_LDLIBS); \
	    mkdir -p $(BUILD)/fuzz/corpus/$$m; \
	    $(BUILD)/fuzz/$$n -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        -close_fd_mask=2 -timeout=10 \
	        $(BUILD)/fuzz/corpus/$$m t/corpus/$$m; \
	done

fuzz-objects: $(FUZZERS:=.o) $(BUILD)/t/shared.a $(ARCHIVES)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
