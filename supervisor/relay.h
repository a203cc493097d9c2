/*
 * The reader of one stage's log pipe: bytes in, lines out. A line over
 * RELAY_LINE_BYTES is cut and its rest dropped, so a stage that floods its log
 * costs a bounded piece of memory, and a bounded piece of each turn.
 */
#ifndef SUPERVISOR_RELAY_H
#define SUPERVISOR_RELAY_H

#include <stdbool.h>
#include <stddef.h>

/* Longest line passed on. */
#define RELAY_LINE_BYTES ((size_t)1024)
/* Read in one turn, at most. */
#define RELAY_READ_BYTES ((size_t)8192)

struct relay {
	int fd;		 /* owned; -1: closed */
	bool has_ended;	 /* the stage's end is closed, or broken */
	bool is_cutting; /* inside of a line whose start was given out */
	size_t start;	 /* first byte in `in` that was not given out */
	size_t end;	 /* one behind the last byte in `in` */
	char in[RELAY_READ_BYTES];
};

/* Makes a relay of `fd`, which does not block and is owned from here on. -1:
 * there is none. */
void relay_init(struct relay *relay, int fd);

/* Closes the descriptor. */
void relay_close(struct relay *relay);

/*
 * Reads once. Returns true if bytes came; false if there are none for now, or
 * the stage has closed its end. Every line was taken before.
 */
bool relay_read(struct relay *relay);

/*
 * Takes the next line. Returns true with *line (borrowed until the next call)
 * and *bytes, without the newline; false if none is whole. After the end of
 * the pipe what is left without a newline counts as a line.
 */
bool relay_next(struct relay *relay, const char **line, size_t *bytes);

#endif
