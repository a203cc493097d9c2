/*
 * Reads a whole log and prints what is damaged in it. It only looks (look.h).
 */
#ifndef WALPROC_VERIFY_H
#define WALPROC_VERIFY_H

#include "stage/exitcode.h"

/* Verifies the log in the directory `path`. Returns EXITCODE_DONE if it is
 * sound, EXITCODE_DAMAGE if not, or another; what failed is logged. */
enum exitcode verify_log(const char *path);

#endif
