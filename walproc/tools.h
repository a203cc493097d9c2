/*
 * The tools: what walproc does when its first word says so, instead of running
 * a log: inspect, verify, repair, export.
 */
#ifndef WALPROC_TOOLS_H
#define WALPROC_TOOLS_H

#include <stdbool.h>

/* Says whether a word of the command line is the name of a tool. */
bool tools_is_word(const char *word);

/* Does what the command line says; argv[0] is the tool's name. Returns what to
 * exit with; all that failed is logged. */
int tools_run(int argc, char **argv);

#endif
