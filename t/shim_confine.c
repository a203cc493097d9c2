/*
 * What a test puts into a program (LD_PRELOAD) that does, from within, what it
 * should not be able to: at the first ppoll(2), where its work begins, each act
 * below is tried, and its name and errno, 0 if it was done, are written as a
 * line to a descriptor. Told by environment variables:
 *
 *   SHIM_RESULTS=FD     where to; without it nothing is tried
 *   SHIM_READ=PATHS     files to read, separated by colons: "read PATH"
 *   SHIM_WRITE=PATHS    files to open for writing: "write PATH"
 *   SHIM_MAKE=PATHS     files to make, and remove again: "make PATH"
 *   SHIM_CONNECT=PORT   a TCP port of 127.0.0.1 to connect to
 *   SHIM_ABSTRACT=NAME  an abstract socket to connect to
 *   SHIM_ABORT=1        abort(3) then
 *   SHIM_HIDE=WORDS     what of its confinement the program does without:
 *                       landlock, seccomp, since it is told that the kernel
 *                       does not have them; dumpable, which it stays
 *
 * What would change this process is tried in a child, if it can have one.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of later C libraries. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
    const sigset_t *mask);

/* Of whoever started this program, also for a child of it. */
static pid_t parent;

static int
act_execve(void)
{
	char *argv[] = {(char[]){"true"}, NULL};

	return execv("/bin/true", argv);
}

static int
act_ptrace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int
act_kill(void)
{
	return kill(parent, 0);
}

static int
act_tgkill(void)
{
	return (int)syscall(SYS_tgkill, parent, parent, 0);
}

static int
act_look_into_parent(void)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)act_kill, 1};

	/* Nothing is there for it to read: EFAULT is as good as done. */
	if (process_vm_readv(parent, &here, 1, &there, 1, 0) == 1 ||
	    errno == EFAULT)
		return 0;
	return -1;
}

static int
make_socket(int family, int type, int protocol)
{
	return socket(family, type | SOCK_CLOEXEC, protocol);
}

static int
act_inet(void)
{
	return make_socket(AF_INET, SOCK_STREAM, 0);
}

static int
act_inet6(void)
{
	return make_socket(AF_INET6, SOCK_DGRAM, 0);
}

static int
act_unix(void)
{
	return make_socket(AF_UNIX, SOCK_STREAM, 0);
}

static int
act_netlink(void)
{
	return make_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int
act_packet(void)
{
	return make_socket(AF_PACKET, SOCK_RAW, 0);
}

static int
act_raw(void)
{
	return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int
act_mptcp(void)
{
	return make_socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
}

static int
act_vsock(void)
{
	return make_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int
act_connect(void)
{
	const char *port = getenv("SHIM_CONNECT");
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)atoi(port == NULL ? "0" : port)),
	    .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};

	return connect(act_inet(), (struct sockaddr *)&to, sizeof(to));
}

static int
act_bind(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	    .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};

	return bind(act_inet(), (struct sockaddr *)&at, sizeof(at));
}

static int
act_listen(void)
{
	return listen(act_inet(), 1);
}

static int
act_abstract(void)
{
	const char *name = getenv("SHIM_ABSTRACT");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = strlen(name == NULL ? "" : name);
	int fd;

	if (name == NULL || n >= sizeof(to.sun_path)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(to.sun_path + 1, name, n);
	fd = act_unix();
	if (fd == -1)
		return -1;
	return connect(fd, (struct sockaddr *)&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
}

static int
act_mount(void)
{
	/* In a namespace of its own, so that nobody else gets to see it. */
	if (unshare(CLONE_NEWNS) == -1 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
		return -1;
	return mount("none", "/proc", "tmpfs", 0, NULL);
}

static int
act_chroot(void)
{
	return chroot("/");
}

static int
act_setuid(void)
{
	return setuid(getuid());
}

static int
act_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* Fails, as what this process is refuses what it could do. */
static int
refuse(void)
{
	errno = EPERM;
	return -1;
}

/* To leave a core, and to be looked into. */
static int
act_be_dumpable(void)
{
	int is_dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);

	return is_dumpable == 0 ? refuse() : is_dumpable;
}

/* To get, by starting a program, the privileges that its file gives. */
static int
act_new_privileges(void)
{
	int has_none = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);

	return has_none == 1 ? refuse() : has_none;
}

static int
act_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_CORE, &limit) == -1
		   ? -1
		   : setrlimit(RLIMIT_CORE, &limit);
}

static int
act_personality(void)
{
	return personality(0xffffffff);
}

static int
act_map_program(void)
{
	return mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0) == MAP_FAILED
		   ? -1
		   : 0;
}

static int
act_make_program(void)
{
	void *p = mmap(NULL, 1, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 1, PROT_READ | PROT_EXEC);
}

static int
act_memfd(void)
{
	return memfd_create("shim", MFD_CLOEXEC);
}

static int
act_bpf(void)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY,
	    .key_size = 4,
	    .value_size = 4,
	    .max_entries = 1};

	return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map));
}

static int
act_io_uring(void)
{
	struct io_uring_params params = {0};

	return (int)syscall(SYS_io_uring_setup, 1, &params);
}

static int
act_userfaultfd(void)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC);
}

static int
act_keyctl(void)
{
	return (int)syscall(
	    SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1);
}

static int
act_open_by_handle(void)
{
	struct {
		struct file_handle handle;
		char room[128];
	} file = {.handle.handle_bytes = sizeof(file.room)};
	int mount_id, fd;

	if (name_to_handle_at(
		AT_FDCWD, "/etc/passwd", &file.handle, &mount_id, 0) == -1)
		return -1;
	fd = open("/etc", O_RDONLY | O_CLOEXEC);
	return open_by_handle_at(fd, &file.handle, O_RDONLY | O_CLOEXEC);
}

static int
act_own_memory(void)
{
	return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

static int
act_chmod(void)
{
	return chmod(".", 0700);
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
    {"ptrace", act_ptrace},
    {"kill", act_kill},
    {"tgkill", act_tgkill},
    {"process_vm_readv", act_look_into_parent},
    {"inet", act_inet},
    {"inet6", act_inet6},
    {"unix", act_unix},
    {"netlink", act_netlink},
    {"packet", act_packet},
    {"raw", act_raw},
    {"mptcp", act_mptcp},
    {"vsock", act_vsock},
    {"connect", act_connect},
    {"bind", act_bind},
    {"listen", act_listen},
    {"abstract", act_abstract},
    {"mount", act_mount},
    {"chroot", act_chroot},
    {"setuid", act_setuid},
    {"dumpable", act_dumpable},
    {"be dumpable", act_be_dumpable},
    {"new privileges", act_new_privileges},
    {"setrlimit", act_limit},
    {"personality", act_personality},
    {"map program", act_map_program},
    {"make program", act_make_program},
    {"memfd", act_memfd},
    {"bpf", act_bpf},
    {"io_uring", act_io_uring},
    {"userfaultfd", act_userfaultfd},
    {"keyctl", act_keyctl},
    {"open_by_handle_at", act_open_by_handle},
    {"own memory", act_own_memory},
    {"chmod", act_chmod},
    /* Last: where it is done in this process, nothing comes after it. */
    {"execve", act_execve},
};

/* Returns the errno of an act, 0 if it was done. */
static int
attempt(int (*act)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == -1)
		return act() == -1 ? errno : 0;
	if (pid == 0)
		_exit(act() == -1 ? errno : 0);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	return WEXITSTATUS(status);
}

static int
try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid == -1)
		return errno;
	(void)waitpid(pid, NULL, 0);
	return 0;
}

static int
try_read(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int error = fd == -1 || read(fd, &byte, 1) == -1 ? errno : 0;

	if (fd != -1)
		(void)close(fd);
	return error;
}

static int
try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd == -1)
		return errno;
	(void)close(fd);
	return 0;
}

static int
try_make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd == -1)
		return errno;
	(void)close(fd);
	return unlinkat(AT_FDCWD, path, 0) == -1 ? errno : 0;
}

/* Tries each of the paths in an environment variable. */
static void
try_paths(
    int out, const char *variable, const char *what, int (*try)(const char *))
{
	const char *text = getenv(variable);
	char *paths = strdup(text == NULL ? "" : text), *rest = paths, *path;

	while ((path = strsep(&rest, ":")) != NULL)
		if (path[0] != '\0')
			(void)dprintf(
			    out, "%s %s\t%d\n", what, path, try(path));
	free(paths);
}

static void
try_all(int out)
{
	parent = getppid();
	(void)dprintf(out, "fork\t%d\n", try_fork());
	try_paths(out, "SHIM_READ", "read", try_read);
	try_paths(out, "SHIM_WRITE", "write", try_write);
	try_paths(out, "SHIM_MAKE", "make", try_make);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		(void)dprintf(
		    out, "%s\t%d\n", acts[i].name, attempt(acts[i].act));
	(void)close(out);
	if (getenv("SHIM_ABORT") != NULL)
		abort();
}

/* Says whether a part of the confinement is hidden. */
static int
is_hidden(const char *part)
{
	const char *hidden = getenv("SHIM_HIDE");

	return hidden != NULL && strstr(hidden, part) != NULL;
}

long
syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6]; /* as many as a call can have */
	va_list args;

	if (number == SYS_landlock_create_ruleset && is_hidden("landlock")) {
		errno = ENOSYS;
		return -1;
	}
	va_start(args, number);
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int
prctl(int option, ...)
{
	static int (*real)(int, ...);
	unsigned long a[4];
	va_list args;

	if (option == PR_GET_SECCOMP && is_hidden("seccomp")) {
		errno = EINVAL;
		return -1;
	}
	if (option == PR_SET_DUMPABLE && is_hidden("dumpable"))
		return 0;
	va_start(args, option);
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "prctl");
	return real(option, a[0], a[1], a[2], a[3]);
}

int
ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
    const sigset_t *mask)
{
	static int (*real)(
	    struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
	const char *out = getenv("SHIM_RESULTS");

	if (real == NULL) {
		*(void **)&real = dlsym(RTLD_NEXT, "ppoll");
		if (out != NULL)
			try_all(atoi(out));
	}
	return real(fds, count, timeout, mask);
}
