#include "onramp/onramp.h"

#include "stage/log.h"

#include <inttypes.h>

/* The longest line that is kept, with what may stand around it: a space, \r
 * and \n. */
#define LINE_BYTES (FRAME_MAX_BYTES + 3)

int
onramp_open(struct onramp *o, const struct onramp_options *options,
    const struct control *control, int in_fd, int out_fd)
{
	struct source_options source = {
	    /* Lines to a socket, too: one that is too long for a frame could
	     * not be passed on otherwise. */
	    .framing = FRAMING_NDJSON,
	    .keep_bytes = LINE_BYTES,
	    .drain_ns = options->drain_ns,
	    .control = *control,
	};

	_Static_assert(LINE_BYTES > ONRAMP_KEEP_BYTES, "one line fits");
	*o = (struct onramp){.taking = ONRAMP_WANTS};
	if (source_open(&o->source, &source, out_fd) == -1)
		return -1;
	chan_init(&o->input, in_fd, FRAMING_NDJSON, -1, FRAMING_NDJSON);
	return 0;
}

void
onramp_close(struct onramp *o)
{
	chan_fini(&o->input);
	source_close(&o->source);
}

/* Takes the line at the front of the input, as it is. */
static enum onramp_taking
take_line(struct onramp *o)
{
	const uint8_t *line = buf_front(&o->input.in);
	size_t bytes = o->input.in_frame_bytes;

	/* The last one of the input may have none. */
	if (line[bytes - 1] == '\n')
		bytes--;
	/* Of the keep: with a space and the \n. */
	if (source_unacked(&o->source) > 0 &&
	    keep_bytes(&o->source.keep) + bytes + 2 > ONRAMP_KEEP_BYTES)
		return ONRAMP_WAITS;
	if (source_add_line(&o->source, line, bytes) == -1)
		return ONRAMP_WAITS;
	chan_drop(&o->input);
	return ONRAMP_TOOK;
}

/* Begins to pass on the line at the front. Returns true, or false if that must
 * wait: nothing that is kept may be sent behind it. */
static bool
begin_long(struct onramp *o)
{
	struct source *source = &o->source;

	if (!source->has_reader || source_unacked(source) > 0 ||
	    source_is_full(source) || source->life != SOURCE_RUNNING)
		return false;
	/* As keep_add_line does. */
	if (*buf_front(&o->input.in) == 0)
		(void)source_pass(source, (const uint8_t *)" ", 1);
	o->in_long = ONRAMP_PASSING;
	o->long_stream = source->stream;
	o->long_bytes = 0;
	return true;
}

static void
end_long(struct onramp *o)
{
	if (o->in_long == ONRAMP_PASSING)
		source_pass_end(&o->source);
	log_debug("a line too long to be kept: %s bytes=%" PRIu64,
	    o->in_long == ONRAMP_PASSING ? "passed on" : "lost", o->long_bytes);
	o->in_long = ONRAMP_NO_LONG;
}

/* Takes the next piece of a line that is too long to be kept. */
static enum onramp_taking
take_long(struct onramp *o)
{
	const uint8_t *piece;
	size_t bytes, taken;
	bool is_end = chan_next_piece(&o->input, &piece, &bytes);

	if (is_end)
		bytes++; /* the \n stands there, too */
	taken = o->in_long == ONRAMP_PASSING
		    ? source_pass(&o->source, piece, bytes)
		    : bytes;
	o->long_bytes += taken;
	o->input.in_frame_bytes = taken;
	chan_drop(&o->input);
	if (taken < bytes)
		return ONRAMP_WAITS;
	if (!is_end && !o->input.in_ended)
		return ONRAMP_WANTS;
	if (!is_end && o->in_long == ONRAMP_PASSING &&
	    source_pass(&o->source, (const uint8_t *)"\n", 1) == 0)
		return ONRAMP_WAITS;
	end_long(o);
	return ONRAMP_TOOK;
}

/* A new reader cannot begin within a line. */
static void
check_long(struct onramp *o)
{
	if (o->in_long != ONRAMP_PASSING || o->long_stream == o->source.stream)
		return;
	log_error("the reader left within a line too long to be kept: the line"
		  " is lost bytes=%" PRIu64,
	    o->long_bytes);
	o->in_long = ONRAMP_DROPPING;
}

static enum onramp_taking
take_next(struct onramp *o)
{
	const uint8_t *line;
	size_t bytes;

	check_long(o);
	if (o->source.breaker_open)
		return ONRAMP_WAITS;
	if (o->in_long != ONRAMP_NO_LONG)
		return take_long(o);
	switch (chan_next(&o->input, &line, &bytes)) {
	case FRAME_READY:
		return take_line(o);
	case FRAME_TOO_LONG:
		return begin_long(o) ? ONRAMP_TOOK : ONRAMP_WAITS;
	case FRAME_PARTIAL:
		break;
	}
	return ONRAMP_WANTS;
}

/* Takes what it can of the input that was read. */
static void
take_input(struct onramp *o)
{
	if (o->source.life != SOURCE_RUNNING &&
	    o->source.life != SOURCE_STOPPING)
		return;
	o->stream = o->source.stream;
	do
		o->taking = take_next(o);
	while (o->taking == ONRAMP_TOOK);
	if (o->taking == ONRAMP_WANTS &&
	    (o->input.in_ended || o->source.life == SOURCE_STOPPING))
		source_finish(&o->source);
}

/*
 * Says whether the input can be taken on although nothing has happened: its
 * reader took all that it was given of a long line, or has left, and with it
 * what was waited for. Poll would not tell.
 */
static bool
is_ready(const struct onramp *o)
{
	if (o->taking != ONRAMP_WAITS)
		return false;
	if (o->stream != o->source.stream)
		return true;
	return o->in_long == ONRAMP_PASSING && !o->source.breaker_open &&
	       !source_is_full(&o->source);
}

static void
read_input(struct onramp *o)
{
	if (chan_turn(&o->input, &o->source.loop) == 0)
		return;
	log_error("input: %m");
	o->has_failed = true;
	o->input.in_ended = true;
}

static void
report(struct onramp *o)
{
	cJSON *report = source_report(&o->source);

	(void)cJSON_AddNumberToObject(
	    report, "unacked_bytes", (double)keep_bytes(&o->source.keep));
	(void)cJSON_AddStringToObject(
	    report, "input", o->input.in_ended ? "ended" : "open");
	control_report(&o->source.control, report);
}

/* One turn of the loop. Returns 0, or -1 with errno set. */
static int
turn(struct onramp *o)
{
	struct source *source = &o->source;

	source_begin(source);
	chan_watch(&o->input, &source->loop,
	    source->life == SOURCE_RUNNING && o->taking == ONRAMP_WANTS);
	if (is_ready(o))
		loop_until(&source->loop, 0);
	if (source_wait(source) == -1)
		return -1;
	read_input(o);
	take_input(o);
	if (source_end(source) == -1)
		return -1;
	if (source->is_asked)
		report(o);
	return 0;
}

/* Says what was read and never passed on: it cannot be read again. */
static void
tell_rest(const struct onramp *o)
{
	size_t rest = buf_bytes(&o->input.in);

	if (o->in_long == ONRAMP_PASSING)
		log_warn("ended within a line too long to be kept: bytes="
			 "%" PRIu64,
		    o->long_bytes);
	if (rest > 0)
		log_warn("ended with input that was read and not passed on:"
			 " bytes=%zu",
		    rest);
}

enum exitcode
onramp_run(struct onramp *o)
{
	struct source *source = &o->source;

	log_info("running: output=%s",
	    source->has_acks ? "socket with acks" : "no socket, no acks");
	control_ready(&source->control);
	while (source->life != SOURCE_DONE) {
		if (turn(o) == 0)
			continue;
		log_error("output: %m");
		source_give_up(source);
	}
	tell_rest(o);
	report(o);
	return o->has_failed ? EXITCODE_AGAIN : source->exitcode;
}
