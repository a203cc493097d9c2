/*
 * What the tools print on standard output, and how that ends.
 */
#ifndef WALPROC_PRINT_H
#define WALPROC_PRINT_H

#include "stage/exitcode.h"
#include "walproc/check.h"

/* Prints what the check found, in one line. */
void print_finding(const struct check_finding *finding);

/* Prints what that sums up to, in one line. */
void print_result(const struct check_result *result);

/*
 * Says whether standard output took all that was printed so far: EXITCODE_DONE,
 * also where who read it has left, or EXITCODE_AGAIN; logged.
 */
enum exitcode print_flush(void);

#endif
