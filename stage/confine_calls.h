/*
 * The part of a confinement that is about system calls: a filter of seccomp(2)
 * that lets pass what stands in a list, and fails the rest. For confine.c only.
 */
#ifndef STAGE_CONFINE_CALLS_H
#define STAGE_CONFINE_CALLS_H

#include "stage/confine.h"

/*
 * Leaves to all threads of this process the system calls for `work`. Returns 0,
 * also if the kernel has no filters; or -1 if they did not work; logged.
 */
int confine_calls(enum confine_work work);

#endif
