/*
 * The allocator's calls and mmap(2), for shim_fault.c. The first come also from
 * libraries and from libc itself; the second only from the allocator, so that
 * it is reached by a seccomp filter.
 */
#include "t/shim_fault.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARENA_BYTES 16384
/* Ignored by kernels with an MMU: it marks the calls that the filter lets
 * through. */
#define MMAP_OURS 0x4000000

/* The allocator's own; dlsym may ask for a little before they are known. */
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);
static bool is_asking;
static char arena[ARENA_BYTES] __attribute__((aligned(16)));
static size_t arena_used;

static void *
from_arena(size_t bytes)
{
	char *p = arena + arena_used;

	bytes = (bytes + 15) / 16 * 16;
	if (bytes > sizeof(arena) - arena_used)
		fault_give_up("dlsym wants too much memory");
	arena_used += bytes;
	return p;
}

static bool
is_in_arena(const void *p)
{
	return (uintptr_t)p - (uintptr_t)arena < sizeof(arena);
}

static void
find_allocator(void)
{
	if (real_free != NULL)
		return;
	is_asking = true;
	REAL(real_malloc, "malloc");
	REAL(real_calloc, "calloc");
	REAL(real_realloc, "realloc");
	REAL(real_free, "free");
	is_asking = false;
}

/* Gives a block on, or ends the process behind the call. */
static void *
allocated(void *p)
{
	(void)fault_done(0);
	return p;
}

void *
malloc(size_t bytes)
{
	if (is_asking)
		return from_arena(bytes);
	find_allocator();
	if (fault_strike(FAULT_MALLOC, "malloc", -1, NULL, (long)bytes) ==
	    FAULT_FAIL)
		return NULL;
	return allocated(real_malloc(bytes));
}

void *
calloc(size_t count, size_t bytes)
{
	/* The arena is zeros, and no part of it is given twice. */
	if (is_asking)
		return from_arena(count * bytes);
	find_allocator();
	if (fault_strike(FAULT_MALLOC, "calloc", -1, NULL, (long)bytes) ==
	    FAULT_FAIL)
		return NULL;
	return allocated(real_calloc(count, bytes));
}

void *
realloc(void *old, size_t bytes)
{
	find_allocator();
	if (is_in_arena(old))
		fault_give_up("what dlsym has is to grow");
	if (fault_strike(FAULT_MALLOC, "realloc", -1, NULL, (long)bytes) ==
	    FAULT_FAIL)
		return NULL;
	return allocated(real_realloc(old, bytes));
}

void *
reallocarray(void *old, size_t count, size_t bytes)
{
	size_t all;

	if (__builtin_mul_overflow(count, bytes, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, all);
}

void
free(void *p)
{
	if (p == NULL || is_in_arena(p))
		return;
	find_allocator();
	real_free(p);
}

#if defined(__x86_64__)
#define REGISTERS(context) ((context)->uc_mcontext.gregs)
static const int arguments[] = {
    REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
#define RESULT REG_RAX
#elif defined(__aarch64__)
#define REGISTERS(context) ((context)->uc_mcontext.regs)
static const int arguments[] = {0, 1, 2, 3, 4, 5};
#define RESULT 0
#endif

#ifdef RESULT
/* Stands in for an mmap(2) that the filter caught. */
static void
take_mmap(int signal, siginfo_t *info, void *context)
{
	long a[6], result;
	int saved = errno;

	(void)signal;
	(void)info;
	for (size_t i = 0; i < 6; i++)
		a[i] = (long)REGISTERS((ucontext_t *)context)[arguments[i]];
	if (fault_strike(FAULT_MMAP, "mmap", -1, NULL, a[1]) == FAULT_FAIL) {
		result = -errno;
	} else {
		result = syscall(
		    SYS_mmap, a[0], a[1], a[2], a[3] | MMAP_OURS, a[4], a[5]);
		if (result == -1)
			result = -errno;
		(void)fault_done(0);
	}
	REGISTERS((ucontext_t *)context)[RESULT] = result;
	errno = saved;
}

void
fault_catch_mmap(void)
{
	struct sigaction action = {
	    .sa_sigaction = take_mmap,
	    .sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	struct sock_filter code[] = {
	    BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		offsetof(struct seccomp_data, args[3])),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MMAP_OURS, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {
	    .len = sizeof(code) / sizeof(code[0]),
	    .filter = code,
	};

	if (sigaction(SIGSYS, &action, NULL) == -1 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1)
		fault_give_up("no seccomp filter can be set");
}
#else
void
fault_catch_mmap(void)
{
	fault_give_up("mmap cannot be caught on this machine");
}
#endif
