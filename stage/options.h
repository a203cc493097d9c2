/*
 * What all programs do alike with their command lines. It prints and logs, and
 * leaves it to the caller to end.
 */
#ifndef STAGE_OPTIONS_H
#define STAGE_OPTIONS_H

#include "stage/exitcode.h"

#include <getopt.h>

/*
 * Prints the answer to --help or --version on standard output. Returns what to
 * exit with: EXITCODE_DONE, or EXITCODE_AGAIN if it could not be written.
 */
enum exitcode options_answer(const char *text);

/*
 * Logs which option getopt_long(3) has found wrong just now, by its name alone:
 * what stands behind a "=" may be a secret. `found` is what it returned: ':' a
 * value is missing, '?' else. `longs` is its table, in which each option that
 * has a letter has a name too, and those without have codes above all letters.
 * `help` is where to look: "walproc --help".
 */
void options_log_wrong(
    int found, char *const *argv, const struct option *longs, const char *help);

/* Logs that the value of an option is not what is wanted of it. */
void options_log_value(
    const char *option, const char *value, const char *wanted);

#endif
