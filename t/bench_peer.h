/*
 * What the programs share that time others' logs: the events that they append,
 * which are the same for all, a clock, and the way to give up.
 */
#ifndef T_BENCH_PEER_H
#define T_BENCH_PEER_H

#include <stddef.h>

/* The length of each event. */
#define PEER_EVENT_BYTES 120

/* Writes event number `n`, below 10^10, a JSON object; no NUL follows it. */
void peer_event(char event[PEER_EVENT_BYTES], size_t n);

/* Returns the number that `text`, the argument `name`, says: 1..`most`. */
size_t peer_number(const char *name, const char *text, size_t most);

/* Returns the time of CLOCK_MONOTONIC in seconds. */
double peer_seconds(void);

/* Prints what came of it: how many events in how many seconds. */
void peer_result(size_t events, double seconds);

/* Says on stderr what failed, and why, and ends the program with status 1. */
_Noreturn void peer_fail(const char *what, const char *why);

#endif
