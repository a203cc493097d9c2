/*
 * What a test puts in front of clock_gettime(2) (LD_PRELOAD): a monotonic clock
 * that goes SHIM_CLOCK_SLOW times as slowly, from the first look at it on. What
 * a program waits for by its clock then does not pass while a test runs,
 * however slow the machine is. The clock on the wall is left alone.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int64_t first_ns;
	const char *slow = getenv("SHIM_CLOCK_SLOW");
	int (*real)(clockid_t, struct timespec *);
	int64_t ns;

	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (real(clock, now) == -1)
		return -1;
	if (clock != CLOCK_MONOTONIC || slow == NULL)
		return 0;
	ns = (int64_t)now->tv_sec * NS_PER_S + now->tv_nsec;
	if (first_ns == 0)
		first_ns = ns;
	ns = first_ns + (ns - first_ns) / atoll(slow);
	now->tv_sec = (time_t)(ns / NS_PER_S);
	now->tv_nsec = (long)(ns % NS_PER_S);
	return 0;
}
