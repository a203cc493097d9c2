/*
 * A source: what a program that begins a chain does with its one reader, in
 * whatever way it comes by its events. It keeps what the reader has not
 * acknowledged, obeys the breaker, and ends when all is acknowledged or a
 * signal says so.
 *
 * On its own it ends when its reader leaves. Under a supervisor it waits for
 * another one, and sends that what it has kept. Where the output is no socket
 * and there is no supervisor, nothing is acknowledged and nothing is kept.
 *
 * A turn of the loop is source_begin, what the program itself waits for,
 * source_wait, the program's events, source_end.
 */
#ifndef STAGE_SOURCE_H
#define STAGE_SOURCE_H

#include "stage/chan.h"
#include "stage/control.h"
#include "stage/exitcode.h"
#include "stage/frame.h"
#include "stage/keep.h"
#include "stage/loop.h"
#include "stage/meter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes waiting to be written from which on the output counts as full. */
#define SOURCE_FULL_BYTES ((size_t)64 << 10)
/* Longest wait for the last acks that users can ask for: a day. */
#define SOURCE_MAX_DRAIN_MS UINT64_C(86400000)
/* Told to stop: for the acks of what was sent. */
#define SOURCE_STOP_NS LOOP_NS_PER_S

struct source_options {
	enum framing framing;	/* FRAMING_AUTO: by what the output is */
	size_t keep_bytes;	/* cap on what is kept, framed */
	int64_t drain_ns;	/* wait for the last acks; LOOP_NEVER */
	struct control control; /* as control_open left it */
};

/* Where in its life a source is. It moves down this list, but for one thing: a
 * new reader takes one that drains back to flushing. */
enum source_life {
	SOURCE_RUNNING,	 /* takes events */
	SOURCE_FLUSHING, /* took them all, writes what it has */
	SOURCE_DRAINING, /* ended the stream, waits for acks */
	SOURCE_STOPPING, /* told to stop: takes no more from outside */
	SOURCE_DONE,
};

struct source {
	enum source_life life;
	enum exitcode exitcode; /* valid once done */
	struct loop loop;	/* the one place to wait */
	struct control control;
	struct chan reader; /* events out, acks in */
	struct keep keep;   /* what the reader has not, or not acked */
	int out_fd;	    /* borrowed: where a reader is attached */
	bool has_acks;	    /* readers acknowledge */
	bool has_reader;    /* there is one, as far as is known */
	bool breaker_open;  /* the reader wants nothing for now */
	bool is_over;	    /* the program has no more events */
	bool is_asked;	    /* a report is wanted */
	bool is_shut;	    /* the reader was told that no more comes */
	uint64_t stream;    /* grows when a reader leaves, and when one comes */
	uint64_t events;    /* taken from the program, of all streams */
	uint64_t acked;	    /* of these */
	uint64_t metered;   /* of these events: in the meter */
	struct meter meter;
	size_t waiting;	     /* to be written, when the turn began */
	int64_t drain_ns;    /* how long to wait for the last acks */
	int64_t deadline_ns; /* when that wait ends, or LOOP_NEVER */
};

/*
 * Makes a source that writes to `out_fd`, which it borrows; where that is a
 * socket it reads acks from it too. From here on SIGTERM and SIGINT arrive
 * through the loop only, and SIGPIPE is ignored. Returns 0, or -1 with errno
 * set and nothing to close.
 */
int source_open(
    struct source *source, const struct source_options *options, int out_fd);

/* Frees what source_open made. The descriptor stays open. */
void source_close(struct source *source);

/* Begins a turn: states what the source waits for. */
void source_begin(struct source *source);

/* Waits, then does what the reader, a signal or the supervisor asks for.
 * Returns 0, or -1 with errno set when a descriptor failed. */
int source_wait(struct source *source);

/* Ends a turn: writes what the reader takes, and moves on as far as what is
 * written and acknowledged allows. Returns as source_wait. */
int source_end(struct source *source);

/* Take an event that the caller writes, as keep_put; or a line, as
 * keep_add_line. */
uint8_t *source_put(struct source *source, size_t bytes);
int source_add_line(struct source *source, const uint8_t *line, size_t bytes);

/*
 * Passes on a piece of an event that is too long to be kept, as far as there is
 * room; nothing may be kept at this moment, and the reader is there. Returns
 * how much of it was taken. source_pass_end says that the event was passed
 * whole, its framing included.
 */
size_t source_pass(struct source *source, const uint8_t *piece, size_t bytes);
void source_pass_end(struct source *source);

/* Says that there will be no more events: they have come to their end, or the
 * program, told to stop, has none left that it could take. */
void source_finish(struct source *source);

/* Ends with EXITCODE_AGAIN; the caller has said why. */
void source_give_up(struct source *source);

/* Says whether SOURCE_FULL_BYTES wait to be written. */
bool source_is_full(const struct source *source);

/* Returns how many events were taken and not acknowledged. */
uint64_t source_unacked(const struct source *source);

/* Returns the report that was asked for, of what is common to all sources; the
 * caller adds to it and sends it. */
cJSON *source_report(struct source *source);

#endif
