/*
 * The onramp: takes lines from a program, a file or a terminal to one reader,
 * each as it is. It does not look into them: whether a line is an event says
 * whoever takes it in. What the reader has not acknowledged is kept, within
 * bounds, for the case that another reader takes its place: see source.h.
 *
 * Of a line that is longer than an event may be nothing is kept: it is passed
 * on as it comes, once all before it is acknowledged. Should the reader leave
 * meanwhile, that line is lost, and said to be.
 */
#ifndef ONRAMP_ONRAMP_H
#define ONRAMP_ONRAMP_H

#include "stage/chan.h"
#include "stage/control.h"
#include "stage/exitcode.h"
#include "stage/source.h"

#include <stdbool.h>
#include <stdint.h>

/* Lines that are not acknowledged, at most; or one line alone. */
#define ONRAMP_KEEP_BYTES ((size_t)1 << 20)

struct onramp_options {
	int64_t drain_ns; /* wait for the last acks; LOOP_NEVER */
};

/* Whether the input stands within a line that is too long to be kept. */
enum onramp_long {
	ONRAMP_NO_LONG,
	ONRAMP_PASSING,	 /* its pieces go to the reader */
	ONRAMP_DROPPING, /* that reader has left: the rest is dropped */
};

/* What became of the front of the input. */
enum onramp_taking {
	ONRAMP_TOOK,  /* a line, or a piece of one */
	ONRAMP_WAITS, /* for the reader to take or to acknowledge */
	ONRAMP_WANTS, /* more input, or there is none any more */
};

struct onramp {
	struct source source;
	struct chan input;	   /* the lines, as they come */
	enum onramp_taking taking; /* of the last turn */
	uint64_t stream;	   /* the source's, when that was */
	enum onramp_long in_long;
	uint64_t long_stream; /* the source's, that has its beginning */
	uint64_t long_bytes;  /* so far */
	bool has_failed;      /* the input */
};

/*
 * Makes an onramp that reads `in_fd` and writes to `out_fd`, both borrowed;
 * `control` is as control_open left it, copied. Else as source_open.
 */
int onramp_open(struct onramp *onramp, const struct onramp_options *options,
    const struct control *control, int in_fd, int out_fd);

/*
 * Runs until the input has ended and all of it is acknowledged, a signal says
 * stop, or the reader is lost; says in the log which. Returns the exit status:
 * EXITCODE_DONE, or EXITCODE_AGAIN when the reader left, broke the protocol or
 * did not acknowledge in time, or when a descriptor failed.
 */
enum exitcode onramp_run(struct onramp *onramp);

/* Frees what onramp_open made. The descriptors stay open. */
void onramp_close(struct onramp *onramp);

#endif
