#include "stage/confine_calls.h"

#include "stage/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * What a call that is not allowed fails with. As from a kernel that does not
 * have it: so libraries fall back on an older call, which they would not do if
 * it were forbidden (EPERM); glibc on clone(2), for one, whose flags can be
 * looked at, from clone3(2), whose flags cannot.
 */
#define REFUSE SCMP_ACT_ERRNO(ENOSYS)

/* Where a socket's type stands in what socket(2) takes: beside it are flags. */
#define SOCKET_TYPES 0xfU

/* The parts of the list; a work has some of them. */
enum part {
	PART_BASE = 1,
	PART_THREADS = 2,
	PART_READ = 4,	/* files */
	PART_WRITE = 8, /* files */
	PART_NET = 16,
	PART_UNIX = 32,
};

static const unsigned parts_of[] = {
    [CONFINE_PURE] = PART_BASE,
    [CONFINE_FILES] = PART_BASE | PART_THREADS | PART_READ | PART_WRITE,
    [CONFINE_NET] = PART_BASE | PART_THREADS | PART_READ | PART_NET,
    [CONFINE_NET_AND_UNIX] =
	PART_BASE | PART_THREADS | PART_READ | PART_NET | PART_UNIX,
};
_Static_assert(
    sizeof(parts_of) / sizeof(parts_of[0]) == CONFINE_NET_AND_UNIX + 1,
    "each work has its parts");

/*
 * Calls that may have any arguments, by name, since not every architecture has
 * each. Where a C library takes one of several, all of them are here.
 */
static const struct {
	enum part part;
	const char *names; /* separated by spaces */
} whole[] = {
    /* Descriptors that are there. */
    {PART_BASE, "read readv write writev close close_range lseek _llseek "
		"dup dup2 dup3 fstat fstat64 newfstatat fstatat64 statx poll "
		"ppoll ppoll_time64 select _newselect pselect6 "
		"pselect6_time64"},
    {PART_BASE, "sendto send sendmsg recvfrom recv recvmsg shutdown "
		"getsockopt setsockopt getsockname getpeername"},
    {PART_BASE, "signalfd4"},
    /* Memory, time, signals to itself, the end. */
    {PART_BASE, "brk munmap mremap madvise futex futex_time64 sched_yield"},
    {PART_BASE, "clock_gettime clock_gettime64 clock_getres "
		"clock_getres_time64 gettimeofday time nanosleep "
		"clock_nanosleep clock_nanosleep_time64"},
    {PART_BASE, "rt_sigaction rt_sigprocmask rt_sigreturn sigreturn "
		"sigaltstack restart_syscall exit exit_group"},
    /* What it may know. */
    {PART_BASE, "getrandom getpid gettid getppid getuid getuid32 geteuid "
		"geteuid32 getgid getgid32 getegid getegid32 uname sysinfo "
		"sched_getaffinity getcpu getrusage times"},
    {PART_THREADS, "eventfd2 set_robust_list rseq set_tid_address membarrier"},
    /* Landlock says which files. */
    {PART_READ, "openat open openat2 stat stat64 lstat lstat64 access "
		"faccessat faccessat2 readlink readlinkat getdents getdents64 "
		"pread64 preadv getcwd"},
    {PART_WRITE, "flock pwrite64 pwritev fsync fdatasync ftruncate ftruncate64 "
		 "mkdirat unlinkat renameat renameat2 linkat"},
    {PART_NET,
	"socketpair pipe2 connect bind sendmmsg recvmmsg recvmmsg_time64"},
};

/* A filter that is being made. */
struct filter {
	scmp_filter_ctx context;
	int error; /* of the first call that could not be added; 0: none */
};

/* Returns the condition that argument `n` is `value`. */
static struct scmp_arg_cmp
is(unsigned n, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){
	    .arg = n, .op = SCMP_CMP_EQ, .datum_a = value};
}

/* Returns the condition that of the bits `mask` argument `n` has `value`. */
static struct scmp_arg_cmp
has(unsigned n, scmp_datum_t mask, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){.arg = n,
	    .op = SCMP_CMP_MASKED_EQ,
	    .datum_a = mask,
	    .datum_b = value};
}

/* Lets a call pass if all conditions hold. One that this architecture does not
 * have, or libseccomp does not know, is none. */
static void
allow_if(struct filter *filter, const char *name,
    const struct scmp_arg_cmp *conditions, unsigned count)
{
	int number = seccomp_syscall_resolve_name(name);

	if (filter->error != 0 || number == __NR_SCMP_ERROR)
		return;
	filter->error = -seccomp_rule_add_array(
	    filter->context, SCMP_ACT_ALLOW, number, count, conditions);
}

/* Lets a call pass if one condition holds. */
static void
allow_one(
    struct filter *filter, const char *name, struct scmp_arg_cmp condition)
{
	allow_if(filter, name, &condition, 1);
}

/* Lets the calls pass whose names these are. */
static void
allow_names(struct filter *filter, const char *names)
{
	char name[32];

	while (*names != '\0') {
		size_t n = strcspn(names, " ");

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, names);
		allow_if(filter, name, NULL, 0);
		names += n + (names[n] == ' ');
	}
}

/* What every process does, as far as that is harmless. */
static void
allow_base(struct filter *filter)
{
	static const int commands[] = {
	    F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ};
	const struct scmp_arg_cmp limits[] = {is(0, 0), is(2, 0)};

	/* No memory that can be written becomes a program, or is one. */
	allow_one(filter, "mmap", has(2, PROT_EXEC, 0));
	allow_one(filter, "mmap2", has(2, PROT_EXEC, 0));
	allow_one(filter, "mprotect", has(2, PROT_EXEC, 0));
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		allow_one(filter, "fcntl", is(1, (scmp_datum_t)commands[i]));
		allow_one(filter, "fcntl64", is(1, (scmp_datum_t)commands[i]));
	}
	/* isatty(3), and how much there is to read. */
	allow_one(filter, "ioctl", is(1, TCGETS));
	allow_one(filter, "ioctl", is(1, FIONREAD));
	/* What its own limits are. */
	allow_if(filter, "prlimit64", limits, 2);
	/* Signals to its own threads: abort(3) needs that. */
	allow_one(filter, "tgkill", is(0, (scmp_datum_t)getpid()));
}

/* To start threads, but no process, and no namespace. */
static void
allow_threads(struct filter *filter)
{
	const scmp_datum_t wanted =
	    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
	const scmp_datum_t not_wanted =
	    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
	    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

	allow_one(filter, "clone", has(0, wanted | not_wanted, wanted));
	allow_one(filter, "prctl", is(0, PR_SET_NAME));
}

/* To have stream and datagram sockets of a family, flags aside. MPTCP and SCTP,
 * which have larger numbers than TCP and UDP, get around what Landlock says of
 * TCP. */
static void
allow_sockets(struct filter *filter, int family)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		const struct scmp_arg_cmp conditions[] = {
		    is(0, (scmp_datum_t)family),
		    has(1, SOCKET_TYPES, (scmp_datum_t)types[i]),
		    {.arg = 2, .op = SCMP_CMP_LE, .datum_a = IPPROTO_UDP},
		};

		allow_if(filter, "socket", conditions,
		    sizeof(conditions) / sizeof(conditions[0]));
	}
}

/* To connect, and to ask for names and for what addresses there are. */
static void
allow_net(struct filter *filter)
{
	const struct scmp_arg_cmp netlink[] = {
	    is(0, AF_NETLINK), is(2, NETLINK_ROUTE)};

	allow_sockets(filter, AF_INET);
	allow_sockets(filter, AF_INET6);
	allow_if(filter, "socket", netlink, 2);
	allow_one(filter, "ioctl", is(1, FIONBIO));
	/* The interface of a link-local address, by its name. */
	allow_one(filter, "ioctl", is(1, SIOCGIFINDEX));
}

/* Adds the list for `work`. */
static void
allow_all(struct filter *filter, enum confine_work work)
{
	unsigned parts = parts_of[work];

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if ((parts & whole[i].part) != 0)
			allow_names(filter, whole[i].names);
	allow_base(filter);
	if ((parts & PART_THREADS) != 0)
		allow_threads(filter);
	if ((parts & PART_NET) != 0)
		allow_net(filter);
	if ((parts & PART_UNIX) != 0)
		allow_sockets(filter, AF_UNIX);
}

/* Says how the filter is to work. */
static void
set_up(struct filter *filter)
{
	static const struct {
		enum scmp_filter_attr attribute;
		uint32_t value;
	} table[] = {
	    /* Calls as of another architecture, or of the 32-bit one. */
	    {SCMP_FLTATR_ACT_BADARCH, REFUSE},
	    {SCMP_FLTATR_CTL_TSYNC, 1},
	    /* A tree and not a chain: each call passes through it. */
	    {SCMP_FLTATR_CTL_OPTIMIZE, 2},
	    {SCMP_FLTATR_API_SYSRAWRC, 1},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (filter->error == 0)
			filter->error = -seccomp_attr_set(filter->context,
			    table[i].attribute, table[i].value);
}

int
confine_calls(enum confine_work work)
{
	struct filter filter = {0};

	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == -1) {
		log_debug("confinement: system calls are not refused: the "
			  "kernel has no filters: %m");
		return 0;
	}
	filter.context = seccomp_init(REFUSE);
	if (filter.context == NULL) {
		log_error("confinement: filter of system calls: no memory");
		return -1;
	}
	set_up(&filter);
	allow_all(&filter, work);
	if (filter.error == 0)
		filter.error = -seccomp_load(filter.context);
	seccomp_release(filter.context);
	if (filter.error != 0) {
		log_error("confinement: filter of system calls: %s",
		    strerror(filter.error));
		return -1;
	}
	log_debug("confinement: system calls are filtered");
	return 0;
}
