/*
 * The metronome: what to send and when. Makes the events
 *
 *   {"onramp":"metronome","id":0,"ingest_ns":1600860720749137000}
 *
 * with a member "pad" behind these where they are to be longer, and sends them
 * to one reader. Ticks keep to a schedule fixed at the start: tick k is due at
 * start + k * interval, however late an earlier one was. A tick that cannot be
 * used is skipped, an id never is.
 *
 * What the reader has not acknowledged is kept, within bounds, for the case
 * that another reader takes its place: see source.h.
 */
#ifndef METRONOME_METRONOME_H
#define METRONOME_METRONOME_H

#include "stage/control.h"
#include "stage/exitcode.h"
#include "stage/frame.h"
#include "stage/source.h"

#include <stddef.h>
#include <stdint.h>

/* Longest interval: one day. */
#define METRONOME_MAX_INTERVAL_MS UINT64_C(86400000)
/* Longest --id. */
#define METRONOME_MAX_ID_BYTES 255
/* Events sent and not acknowledged, at most. */
#define METRONOME_MAX_UNACKED 8192
/* Their bytes, with the framing, at most. */
#define METRONOME_KEEP_BYTES ((size_t)1 << 20)
/* Without --count. */
#define METRONOME_ENDLESS UINT64_MAX
/* Largest --size. */
#define METRONOME_MAX_SIZE 65536
/* Room for one event: the id with every byte escaped, two numbers, the rest,
 * and what it is filled up with. */
#define METRONOME_PLAIN_BYTES (6 * METRONOME_MAX_ID_BYTES + 128)
#define METRONOME_EVENT_BYTES (METRONOME_PLAIN_BYTES + METRONOME_MAX_SIZE)

struct metronome_options {
	uint64_t interval_ms; /* 0: as fast as the reader takes them */
	uint64_t count;	      /* events to send, or METRONOME_ENDLESS */
	const char *id;	      /* borrowed; UTF-8, METRONOME_MAX_ID_BYTES */
	size_t size;	      /* to fill up shorter events to; 0: none */
	enum framing framing; /* FRAMING_AUTO: by what the output is */
	int64_t drain_ns;     /* wait for the last acks; LOOP_NEVER */
};

struct metronome {
	struct source source; /* its events are the next one's id */
	uint64_t count;	      /* events to make */
	int64_t interval_ns;
	int64_t start_ns;  /* tick 0, CLOCK_MONOTONIC */
	int64_t next_ns;   /* next tick */
	size_t size;	   /* as in the options */
	size_t most_bytes; /* of an event with its framing */
	/* What stands before the id, and what behind it in the next events. */
	size_t head_bytes;
	uint8_t head[METRONOME_PLAIN_BYTES];
	size_t tail_bytes;
	size_t tail_id_bytes; /* length of the ids that it fits */
	unsigned tail_left;   /* events that may have it still */
	uint8_t tail[METRONOME_EVENT_BYTES];
};

/*
 * Makes a metronome that writes to `out_fd`, which it borrows; where that is a
 * socket it reads acks from it too. `control` is as control_open left it,
 * copied. From here on SIGTERM and SIGINT arrive through the loop only, and
 * SIGPIPE is ignored. Tick 0 is now. Returns 0, or -1 with errno set and
 * nothing to close.
 */
int metronome_open(struct metronome *metronome,
    const struct metronome_options *options, const struct control *control,
    int out_fd);

/*
 * Runs until every event is sent and acknowledged, a signal says stop, or the
 * reader is lost; says in the log which. Returns the exit status:
 * EXITCODE_DONE, or EXITCODE_AGAIN when the reader left, broke the protocol or
 * did not acknowledge in time, or when a descriptor failed.
 */
enum exitcode metronome_run(struct metronome *metronome);

/* Frees what metronome_open made. The descriptor stays open. */
void metronome_close(struct metronome *metronome);

#endif
