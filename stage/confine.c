#include "stage/confine.h"

#include "stage/confine_calls.h"
#include "stage/confine_paths.h"
#include "stage/log.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#ifdef CONFINE_NOTHING

/* Sanitizers do at the end what no list here has. */
int
confine_enter(
    enum confine_work work, const struct confine_path *paths, size_t count)
{
	(void)work;
	(void)paths;
	(void)count;
	log_debug("not confined: built without");
	return 0;
}

#else

/* What is in memory stays there. */
static int
hide_memory(void)
{
	static const struct rlimit none;

	/* A core_pattern(5) that is a program gets its dump whatever the limit
	 * is, unless the process cannot be dumped. */
	if (setrlimit(RLIMIT_CORE, &none) == -1 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
		log_error("confinement: no core dumps: %m");
		return -1;
	}
	return 0;
}

int
confine_enter(
    enum confine_work work, const struct confine_path *paths, size_t count)
{
	if (hide_memory() == -1)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
		log_error("confinement: no new privileges: %m");
		return -1;
	}
	/* The filter comes last: it does not let pass what the rest needs. */
	if (confine_paths(paths, count, work >= CONFINE_NET) == -1)
		return -1;
	return confine_calls(work);
}

#endif
