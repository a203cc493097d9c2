/*
 * What all programs do alike with their command lines.
 */
#ifndef STAGE_OPTIONS_H
#define STAGE_OPTIONS_H

#include "stage/exitcode.h"

/*
 * Prints the answer to --help or --version on standard output. Returns what to
 * exit with: EXITCODE_DONE, or EXITCODE_AGAIN if it could not be written.
 */
enum exitcode options_answer(const char *text);

#endif
