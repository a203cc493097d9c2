#include "supervisor/config.h"
#include "supervisor/keys.h"

#include <stddef.h>

/* The longest times. */
#define DAY_MS UINT64_C(86400000)
#define HOUR_MS UINT64_C(3600000)
/* What wssink takes at least. */
#define MIN_TIME_MS 100
/* Integers up to here are exact in every JSON reader. */
#define MAX_COUNT ((UINT64_C(1) << 53) - 1)
/* metronome's. */
#define MAX_SIZE 65536
/* wssink's. */
#define MAX_REPLAY 4096
#define MAX_RATE 1000000000

/* What walproc takes at least. */
#define MIN_LOG_BYTES 16384
/* And at most. */
#define MAX_SEGMENT_BYTES (UINT64_C(1) << 30)

#define IN(type, field) offsetof(struct type, field)

static const char *const onramp_types[] = {
    "metronome",
    "exec",
    "stdin",
    NULL,
};

static const char *const restart_words[] = {
    "always",
    "on-failure",
    "never",
    NULL,
};

static const char *const offramp_types[] = {
    "ws",
    NULL,
};

static const char *const full_words[] = {
    "pause",
    "drop_oldest",
    "drop_newest",
    NULL,
};

static const char *const ack_words[] = {
    "pong",
    "write",
    "app",
    NULL,
};

static const struct key root_keys[] = {
    {.name = "state_dir", .type = KEY_FILE, .offset = IN(config, state_dir)},
    {.name = "shutdown_timeout",
	.type = KEY_SECONDS,
	.max = HOUR_MS,
	.fallback = 5000,
	.offset = IN(config, shutdown_timeout)},
    {.name = "sandbox",
	.type = KEY_BOOL,
	.fallback = true,
	.offset = IN(config, sandbox)},
    {.name = "user", .type = KEY_ACCOUNT, .offset = IN(config, user)},
    {.name = "group", .type = KEY_ACCOUNT, .offset = IN(config, group)},
    {.name = "onramp", .type = KEY_LIST},
    {.name = "pipeline", .type = KEY_LIST},
    {.name = "offramp", .type = KEY_LIST},
    {.name = "binding", .type = KEY_LIST},
    {.name = "mapping", .type = KEY_MAP},
    {.name = NULL},
};

static const struct key onramp_keys[] = {
    {.name = "id",
	.type = KEY_NAME,
	.is_required = true,
	.option = "--id",
	.is_always_shown = true,
	.offset = IN(config_onramp, id)},
    {.name = "type",
	.type = KEY_WORD,
	.is_required = true,
	.words = onramp_types,
	.offset = IN(config_onramp, type)},
    {.name = "config", .type = KEY_MAP},
    {.name = NULL},
};

static const struct key metronome_keys[] = {
    {.name = "interval",
	.type = KEY_COUNT,
	.unit = "milliseconds",
	.max = DAY_MS,
	.fallback = 1000,
	.option = "--interval",
	.is_always_shown = true,
	.offset = IN(config_onramp, interval)},
    {.name = "count",
	.type = KEY_COUNT,
	.unit = "events",
	.min = 1,
	.max = MAX_COUNT,
	.option = "--count",
	.offset = IN(config_onramp, count)},
    {.name = "size",
	.type = KEY_COUNT,
	.unit = "bytes",
	.min = 1,
	.max = MAX_SIZE,
	.option = "--size",
	.offset = IN(config_onramp, size)},
    {.name = NULL},
};

static const struct key exec_keys[] = {
    {.name = "command", .type = KEY_LIST, .is_required = true},
    {.name = "restart",
	.type = KEY_WORD,
	.words = restart_words,
	.fallback_text = "always",
	.offset = IN(config_onramp, restart)},
    {.name = NULL},
};

static const struct key stdin_keys[] = {
    {.name = NULL},
};

static const struct key pipeline_keys[] = {
    {.name = "id",
	.type = KEY_NAME,
	.is_required = true,
	.offset = IN(config_pipeline, id)},
    {.name = "insert", .type = KEY_MAP},
    {.name = "upsert", .type = KEY_MAP},
    {.name = "patch", .type = KEY_LIST},
    {.name = "wal", .type = KEY_MAP, .is_required = true},
    {.name = NULL},
};

static const struct key wal_keys[] = {
    {.name = "read_count",
	.type = KEY_COUNT,
	.unit = "events",
	.min = 1,
	.max = 1000000,
	.fallback = 20,
	.option = "--read-count",
	.is_always_shown = true,
	.offset = IN(config_pipeline, read_count)},
    {.name = "max_elements",
	.type = KEY_COUNT,
	.unit = "events",
	.min = 1,
	.max = MAX_COUNT,
	.option = "--max-elements",
	.offset = IN(config_pipeline, max_elements)},
    {.name = "max_bytes",
	.type = KEY_COUNT,
	.unit = "bytes",
	.min = MIN_LOG_BYTES,
	.max = MAX_COUNT,
	.option = "--max-bytes",
	.offset = IN(config_pipeline, max_bytes)},
    {.name = "on_full",
	.type = KEY_WORD,
	.words = full_words,
	.fallback_text = "pause",
	.option = "--on-full",
	.offset = IN(config_pipeline, on_full)},
    {.name = "sync",
	.type = KEY_SYNC,
	.fallback_text = "always",
	.option = "--sync",
	.offset = IN(config_pipeline, sync)},
    {.name = "max_age",
	.type = KEY_SECONDS,
	.min = 1,
	.max = 365 * DAY_MS,
	.option = "--max-age",
	.offset = IN(config_pipeline, max_age)},
    {.name = "segment_bytes",
	.type = KEY_COUNT,
	.unit = "bytes",
	.min = MIN_LOG_BYTES,
	.max = MAX_SEGMENT_BYTES,
	.option = "--segment-bytes",
	.offset = IN(config_pipeline, segment_bytes)},
    {.name = "max_event_bytes",
	.type = KEY_COUNT,
	.unit = "bytes",
	.min = 1,
	.max = 0xffffff,
	.fallback = 0xffffff,
	.option = "--max-event-bytes",
	.offset = IN(config_pipeline, max_event_bytes)},
    {.name = NULL},
};

static const struct key offramp_keys[] = {
    {.name = "id",
	.type = KEY_NAME,
	.is_required = true,
	.offset = IN(config_offramp, id)},
    {.name = "type",
	.type = KEY_WORD,
	.is_required = true,
	.words = offramp_types,
	.offset = IN(config_offramp, type)},
    {.name = "config", .type = KEY_MAP, .is_required = true},
    {.name = NULL},
};

static const struct key ws_keys[] = {
    {.name = "url",
	.type = KEY_URL,
	.is_required = true,
	.option = "-u",
	.offset = IN(config_offramp, url)},
    {.name = "ack",
	.type = KEY_WORD,
	.words = ack_words,
	.fallback_text = "pong",
	.option = "--ack",
	.offset = IN(config_offramp, ack)},
    {.name = "binary",
	.type = KEY_BOOL,
	.option = "--binary",
	.offset = IN(config_offramp, binary)},
    {.name = "ping_interval",
	.type = KEY_SECONDS,
	.min = MIN_TIME_MS,
	.max = HOUR_MS,
	.fallback = 10000,
	.option = "--ping-interval",
	.offset = IN(config_offramp, ping_interval)},
    {.name = "ping_timeout",
	.type = KEY_SECONDS,
	.min = MIN_TIME_MS,
	.max = HOUR_MS,
	.fallback = 5000,
	.option = "--ping-timeout",
	.offset = IN(config_offramp, ping_timeout)},
    {.name = "connect_timeout",
	.type = KEY_SECONDS,
	.min = MIN_TIME_MS,
	.max = HOUR_MS,
	.fallback = 10000,
	.option = "--connect-timeout",
	.offset = IN(config_offramp, connect_timeout)},
    {.name = "backoff_max",
	.type = KEY_SECONDS,
	.min = MIN_TIME_MS,
	.max = HOUR_MS,
	.fallback = 30000,
	.option = "--backoff-max",
	.offset = IN(config_offramp, backoff_max)},
    {.name = "headers", .type = KEY_MAP, .is_private = true},
    {.name = "header_file",
	.type = KEY_FILE,
	.option = "--header-file",
	.offset = IN(config_offramp, header_file)},
    {.name = "basic_auth",
	.type = KEY_SECRET,
	.is_private = true,
	.instead = "basic_auth_file",
	.option = "--basic-auth",
	.offset = IN(config_offramp, basic_auth)},
    {.name = "bearer_auth",
	.type = KEY_SECRET,
	.is_private = true,
	.instead = "bearer_auth_file",
	.option = "--bearer-auth",
	.offset = IN(config_offramp, bearer_auth)},
    {.name = "basic_auth_file",
	.type = KEY_FILE,
	.option = "--basic-auth-file",
	.offset = IN(config_offramp, basic_auth_file)},
    {.name = "bearer_auth_file",
	.type = KEY_FILE,
	.option = "--bearer-auth-file",
	.offset = IN(config_offramp, bearer_auth_file)},
    {.name = "cacert",
	.type = KEY_FILE,
	.option = "--cacert",
	.offset = IN(config_offramp, cacert)},
    {.name = "cert",
	.type = KEY_FILE,
	.option = "--cert",
	.offset = IN(config_offramp, cert)},
    {.name = "key",
	.type = KEY_FILE,
	.option = "--key",
	.offset = IN(config_offramp, key)},
    {.name = "insecure",
	.type = KEY_BOOL,
	.option = "-k",
	.offset = IN(config_offramp, insecure)},
    {.name = "protocol",
	.type = KEY_TOKEN,
	.option = "--protocol",
	.offset = IN(config_offramp, protocol)},
    {.name = "proxy",
	.type = KEY_PROXY,
	.option = "--proxy",
	.offset = IN(config_offramp, proxy)},
    {.name = "proxy_auth",
	.type = KEY_SECRET,
	.is_private = true,
	.instead = "proxy_auth_file",
	.option = "--proxy-auth",
	.offset = IN(config_offramp, proxy_auth)},
    {.name = "proxy_auth_file",
	.type = KEY_FILE,
	.option = "--proxy-auth-file",
	.offset = IN(config_offramp, proxy_auth_file)},
    {.name = "on_connect_replay",
	.type = KEY_COUNT,
	.unit = "events",
	.max = MAX_REPLAY,
	.option = "--on-connect-replay",
	.offset = IN(config_offramp, on_connect_replay)},
    {.name = "rate",
	.type = KEY_COUNT,
	.unit = "events a second",
	.min = 1,
	.max = MAX_RATE,
	.option = "--rate",
	.offset = IN(config_offramp, rate)},
    {.name = NULL},
};

static const struct key binding_keys[] = {
    {.name = "id",
	.type = KEY_NAME,
	.is_required = true,
	.offset = IN(config_binding, id)},
    {.name = "links", .type = KEY_MAP, .is_required = true},
    {.name = NULL},
};

static const struct key mapping_keys[] = {
    {.name = "instance",
	.type = KEY_NAME,
	.is_required = true,
	.offset = IN(config_instance, instance)},
    {.name = NULL},
};

static const struct key *const sets[] = {
    [KEYS_ROOT] = root_keys,
    [KEYS_ONRAMP] = onramp_keys,
    [KEYS_METRONOME] = metronome_keys,
    [KEYS_EXEC] = exec_keys,
    [KEYS_STDIN] = stdin_keys,
    [KEYS_PIPELINE] = pipeline_keys,
    [KEYS_WAL] = wal_keys,
    [KEYS_OFFRAMP] = offramp_keys,
    [KEYS_WS] = ws_keys,
    [KEYS_BINDING] = binding_keys,
    [KEYS_MAPPING] = mapping_keys,
};
_Static_assert(sizeof(sets) / sizeof(sets[0]) == KEYS_SETS, "a set is missing");

const struct key *
keys_of(enum key_set set)
{
	return sets[set];
}
