/*
 * What the programs of the benchmark share: the events, the bare parts of a
 * websocket connection, and how results are printed. They are no part of what
 * is measured but for the ceiling, which is made of little else.
 */
#ifndef T_BENCH_TOOLS_H
#define T_BENCH_TOOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the text in an event takes at most, so that an event is no shorter. */
#define BENCH_EVENT_MIN_BYTES ((size_t)100)

/* Longest header of a masked frame. */
#define BENCH_HEADER_BYTES ((size_t)14)

/* One frame that a client sent; its payload is masked still. */
struct bench_frame {
	unsigned opcode;
	uint8_t *payload; /* borrowed: in the input */
	size_t bytes;
	uint8_t mask[4];
	size_t frame_bytes; /* with its header */
};

/* Where a number was found in the last event: mostly it is there again. */
struct bench_place {
	const char *key; /* borrowed: with its quotes and colon */
	size_t at;	 /* 0 at first */
};

/* Prints what failed, and why, and ends the process with 1. */
__attribute__((noreturn)) void bench_fail(const char *what, const char *why);

/* The same, where errno says why. */
__attribute__((noreturn)) void bench_die(const char *what);

/* Returns CLOCK_MONOTONIC in ns. */
int64_t bench_now_ns(void);

/* Prints one result: `name value unit`. */
void bench_print(const char *name, double value, const char *unit);

/* Sorts `count` times in ns and prints percentiles: `name_p50_us` and so on. */
void bench_print_times(const char *name, int64_t *times, uint64_t count);

/* Reads a whole number from 1 to `max` of the command line, or ends the
 * process with 1. */
uint64_t bench_number(const char *option, const char *text, uint64_t max);

/* Writes event number `n`, as `metronome --size` makes them, with `bytes` from
 * BENCH_EVENT_MIN_BYTES on; no NUL is put there. Returns its end. */
uint8_t *bench_event(uint8_t *to, size_t bytes, uint64_t n);

/* Returns the number behind place->key in the event, or ends the process where
 * there is no such key. */
uint64_t bench_find_number(
    struct bench_place *place, const uint8_t *event, size_t bytes);

/* Writes all of it to a descriptor that blocks, or ends the process. */
void bench_write(int fd, const void *data, size_t bytes);

/* Listens on 127.0.0.1 at *port, 0 for any, and sets *port. Returns the
 * descriptor. */
int bench_listen(uint16_t *port);

/* Connects to 127.0.0.1. Returns the descriptor. */
int bench_dial(uint16_t port);

/* Masks or unmasks: out may be in. */
void bench_mask(
    uint8_t *out, const uint8_t *in, size_t bytes, const uint8_t mask[4]);

/* Reads the masked frame at the front of `in`. Returns false if it is not
 * whole. Ends the process at one that is not masked. */
bool bench_read_frame(uint8_t *in, size_t in_bytes, struct bench_frame *frame);

#endif
