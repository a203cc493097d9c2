#include "stage/confine.h"
#include "t/suite.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef CONFINE_NOTHING
#define CONFINES false
#else
#define CONFINES true
#endif

/* What is confined is a process of its own: Check itself needs more. */
static char dir[] = "/tmp/check_confine.XXXXXX";
static char other[] = "/tmp/check_confine.XXXXXX";

/* What a confinement leaves; MAY_NEVER none does. */
enum may {
	MAY_READ = 1,
	MAY_WRITE = 2,
	MAY_CONNECT = 4,
	MAY_THREAD = 8,
	MAY_UNIX = 16,
	MAY_NEVER = 32,
};

/* Opens a file in a directory, and closes it. */
static int
open_in(const char *in, const char *name, int flags)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", in, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	return fd == -1 ? -1 : close(fd);
}

static int
act_read(void)
{
	return open_in(dir, "file", O_RDONLY);
}

static int
act_read_other(void)
{
	return open_in(other, "file", O_RDONLY);
}

static int
act_write(void)
{
	return open_in(dir, "file", O_WRONLY);
}

/* Makes a file in a directory, and removes it. */
static int
make_in(const char *in)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/made", in);
	if (open_in(in, "made", O_WRONLY | O_CREAT | O_EXCL) == -1)
		return -1;
	return unlinkat(AT_FDCWD, path, 0);
}

static int
act_make(void)
{
	return make_in(dir);
}

static int
act_make_other(void)
{
	return make_in(other);
}

/* Into a directory and back, as what is quarantined. */
static int
act_move(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return -1;
	if ((mkdirat(fd, "sub", 0700) == -1 && errno != EEXIST) ||
	    renameat(fd, "file", fd, "sub/file") == -1 ||
	    renameat(fd, "sub/file", fd, "file") == -1)
		return -1;
	return close(fd);
}

static int
make_socket(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	return fd == -1 ? -1 : close(fd);
}

static int
act_tcp(void)
{
	return make_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
}

static int
act_netlink(void)
{
	return make_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int
act_netlink_audit(void)
{
	return make_socket(AF_NETLINK, SOCK_RAW, 15);
}

static int
act_unix(void)
{
	return make_socket(AF_UNIX, SOCK_STREAM, 0);
}

static int
act_interface(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result;

	if (fd == -1)
		return -1;
	result = ioctl(fd, SIOCGIFINDEX, &request);
	(void)close(fd);
	return result;
}

static int
act_seqpacket(void)
{
	return make_socket(AF_UNIX, SOCK_SEQPACKET, 0);
}

static void *
nothing(void *arg)
{
	return arg;
}

static int
act_thread(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, nothing, NULL);
	return errno != 0 ? -1 : pthread_join(thread, NULL);
}

static int
act_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid == -1 ? -1 : (int)waitpid(pid, NULL, 0);
}

static int
act_map_program(void)
{
	void *p = mmap(
	    NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : munmap(p, 1);
}

static int
act_signal_parent(void)
{
	return kill(getppid(), 0);
}

static int
act_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static const struct {
	const char *name;
	int (*act)(void);
	int needs;
} acts[] = {
    {"read a permitted file", act_read, MAY_READ},
    {"read another file", act_read_other, MAY_NEVER},
    {"write a permitted file", act_write, MAY_WRITE},
    {"make a permitted file", act_make, MAY_WRITE},
    {"make another file", act_make_other, MAY_NEVER},
    {"move a permitted file", act_move, MAY_WRITE},
    {"a TCP socket", act_tcp, MAY_CONNECT},
    {"a netlink socket", act_netlink, MAY_CONNECT},
    {"a netlink socket of another kind", act_netlink_audit, MAY_NEVER},
    {"the number of an interface", act_interface, MAY_CONNECT},
    {"a Unix socket", act_unix, MAY_UNIX},
    {"a Unix socket of another kind", act_seqpacket, MAY_NEVER},
    {"a thread", act_thread, MAY_THREAD},
    {"a process", act_fork, MAY_NEVER},
    {"memory that is a program", act_map_program, MAY_NEVER},
    {"a signal to the parent", act_signal_parent, MAY_NEVER},
    {"to be dumpable", act_dumpable, MAY_NEVER},
};

/* What became of each act, by errno; written by another process. */
static int *results;

#define ACTS (sizeof(acts) / sizeof(acts[0]))

static void
set_up(void)
{
	results = mmap(NULL, ACTS * sizeof(*results), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(results, MAP_FAILED);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_ptr_nonnull(mkdtemp(other));
	ck_assert_int_eq(open_in(dir, "file", O_WRONLY | O_CREAT), 0);
	ck_assert_int_eq(open_in(other, "file", O_WRONLY | O_CREAT), 0);
}

/* Removes a directory with what is in it, files or empty directories. */
static void
remove_all(const char *path)
{
	DIR *entries = opendir(path);
	const struct dirent *entry;
	char name[512];

	ck_assert_ptr_nonnull(entries);
	while ((entry = readdir(entries)) != NULL) {
		(void)snprintf(
		    name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			ck_assert_int_eq(remove(name), 0);
	}
	(void)closedir(entries);
	ck_assert_int_eq(rmdir(path), 0);
}

static void
tear_down(void)
{
	(void)munmap(results, ACTS * sizeof(*results));
	remove_all(dir);
	remove_all(other);
}

/* Does each act. */
static void
try_acts(void)
{
	for (size_t i = 0; i < ACTS; i++)
		results[i] = acts[i].act() == -1 ? errno : 0;
}

/* Those acts that `may` allows, and no others, have succeeded. */
static void
assert_acts(int may)
{
	for (size_t i = 0; i < ACTS; i++)
		ck_assert_msg((results[i] == 0) == ((acts[i].needs & may) != 0),
		    "%s: %s", acts[i].name, strerror(results[i]));
}

/* Without confinement all of it works. */
START_TEST(test_free)
{
	try_acts();
	assert_acts(MAY_READ | MAY_WRITE | MAY_CONNECT | MAY_THREAD | MAY_UNIX |
		    MAY_NEVER);
}
END_TEST

static const struct {
	enum confine_work work;
	enum confine_access access;
	size_t paths;
	int may;
} works[] = {
    {CONFINE_PURE, CONFINE_READ, 0, 0},
    {CONFINE_FILES, CONFINE_READ_WRITE, 1, MAY_READ | MAY_WRITE | MAY_THREAD},
    {CONFINE_FILES, CONFINE_READ, 1, MAY_READ | MAY_THREAD},
    {CONFINE_NET, CONFINE_READ, 1, MAY_READ | MAY_CONNECT | MAY_THREAD},
    {CONFINE_NET, CONFINE_READ, 0, MAY_CONNECT | MAY_THREAD},
    {CONFINE_NET_AND_UNIX, CONFINE_READ, 1,
	MAY_READ | MAY_CONNECT | MAY_THREAD | MAY_UNIX},
};

/* Runs `inside(n)` in a process, which must end by itself. Returns its status
 * as waitpid(2) has it. */
static int
run(int (*inside)(int), int n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(inside(n));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int
inside_work(int n)
{
	struct confine_path path = {
	    .path = dir, .fd = -1, .access = works[n].access};

	if (confine_enter(works[n].work, &path, works[n].paths) == -1)
		return 1;
	try_acts();
	return 0;
}

START_TEST(test_confined)
{
	ck_assert_int_eq(run(inside_work, _i), 0);
	assert_acts(works[_i].may);
}
END_TEST

/* Confines this process to a descriptor's file, and tries to read it. */
static int
inside_file(int fd)
{
	const struct confine_path paths[] = {
	    {"/nonexistent/file", -1, CONFINE_READ},
	    {NULL, fd, CONFINE_READ},
	};
	char name[16];

	(void)snprintf(name, sizeof(name), "%d", fd);
	if (confine_enter(CONFINE_FILES, paths, 2) == -1)
		return 1;
	if (open_in("/proc/self/fd", name, O_RDONLY) == -1)
		return 2;
	if (open_in(dir, "file", O_RDONLY) == 0)
		return 3;
	return 0;
}

/* What is not there is left out; a descriptor stands for its file. */
START_TEST(test_descriptor)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/file", other);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(run(inside_file, fd), 0);
	(void)close(fd);
}
END_TEST

/* No path leads to a memfd, so that no rule can be made for it, or need be. */
START_TEST(test_memfd)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(run(inside_file, fd), 0);
	(void)close(fd);
}
END_TEST

static int
inside_limit(int unused)
{
	struct rlimit limit;

	(void)unused;
	if (confine_enter(CONFINE_PURE, NULL, 0) == -1 ||
	    getrlimit(RLIMIT_CORE, &limit) == -1)
		return 1;
	return limit.rlim_cur == 0 && limit.rlim_max == 0 ? 0 : 2;
}

/* Whatever may be done with files. */
START_TEST(test_core_limit)
{
	const struct rlimit limit = {1 << 20, 1 << 20};

	if (setrlimit(RLIMIT_CORE, &limit) == -1)
		return;
	ck_assert_int_eq(run(inside_limit, 0), 0);
}
END_TEST

static int
inside_abort(int is_confined)
{
	const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	if (chdir(dir) == -1 || setrlimit(RLIMIT_CORE, &limit) == -1)
		return 1;
	if (is_confined == 1 && confine_enter(CONFINE_PURE, NULL, 0) == -1)
		return 2;
	abort();
}

/* What was in memory is not left behind on the disk. */
START_TEST(test_core)
{
	struct rlimit limit;
	int status;

	ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
	if (limit.rlim_max != RLIM_INFINITY && geteuid() != 0)
		return;
	status = run(inside_abort, 0);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	/* Where dumps go, and whether, is the machine's choice. */
	if (!WCOREDUMP(status))
		return;
	status = run(inside_abort, 1);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert(!WCOREDUMP(status));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("confine");
	TCase *tcase = tcase_create("confine");

	tcase_add_unchecked_fixture(tcase, set_up, tear_down);
	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, test_free);
	if (!CONFINES)
		return suite_run(suite);
	tcase_add_test(tcase, test_descriptor);
	tcase_add_test(tcase, test_memfd);
	tcase_add_test(tcase, test_core);
	tcase_add_test(tcase, test_core_limit);
	tcase_add_loop_test(
	    tcase, test_confined, 0, (int)(sizeof(works) / sizeof(works[0])));
	return suite_run(suite);
}
