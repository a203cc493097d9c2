#include "walproc/export.h"

#include "stage/log.h"
#include "walproc/print.h"
#include "walproc/walk.h"

#include <inttypes.h>
#include <stdio.h>

/* Writes an event as a line. Returns 0, or -1: standard output failed. */
static int
put_event(const uint8_t *event, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		size_t n = 0;

		while (done + n < bytes && event[done + n] != '\n' &&
		       event[done + n] != '\r')
			n++;
		if (fwrite(event + done, 1, n, stdout) != n)
			return -1;
		done += n;
		if (done < bytes && putc(' ', stdout) == EOF)
			return -1;
		if (done < bytes)
			done++;
	}
	return putc('\n', stdout) == EOF ? -1 : 0;
}

/* Says what is not there. Returns whether that is damage. */
static bool
tell_damage(const struct reader_event *event)
{
	uint64_t last_seq = event->seq + event->count - 1;

	if (event->is_known) {
		log_warn("events %" PRIu64 "-%" PRIu64 " (%" PRIu64
			 "): missing, and known to be",
		    event->seq, last_seq, event->count);
		return false;
	}
	log_error("events %" PRIu64 "-%" PRIu64 " (%" PRIu64 "): %s",
	    event->seq, last_seq, event->count,
	    event->from == event->to ? "missing" : "damaged");
	return true;
}

enum exitcode
export_log(const char *path, const struct export_options *options)
{
	struct look look;
	struct walk walk;
	struct reader_event event;
	uint64_t from = options->from_seq, to = options->to_seq;
	enum exitcode exitcode = look_exitcode(look_open(&look, path));
	enum exitcode flushed;
	bool is_over = false;

	if (exitcode != EXITCODE_DONE)
		return exitcode;
	if (options->is_unacked && from <= look.slot.acked_seq)
		from = look.slot.acked_seq + 1;
	if (to > look_last_seq(&look))
		to = look_last_seq(&look);
	walk_init(&walk, &look, from, to);
	while (!is_over) {
		switch (walk_next(&walk, &event)) {
		case WALK_EVENT:
			is_over = put_event(event.event, event.bytes) == -1;
			break;
		case WALK_DAMAGE:
			if (tell_damage(&event))
				exitcode = EXITCODE_DAMAGE;
			break;
		case WALK_END:
			is_over = true;
			break;
		case WALK_ERROR:
			exitcode = EXITCODE_AGAIN;
			is_over = true;
			break;
		}
	}
	if (walk.torn_seq != 0 && !look.is_running)
		log_warn("from %" PRIu64 " on the tail is not whole, as a "
			 "crash may leave it",
		    walk.torn_seq);
	walk_fini(&walk);
	look_close(&look);
	flushed = print_flush();
	return flushed == EXITCODE_DONE ? exitcode : flushed;
}
