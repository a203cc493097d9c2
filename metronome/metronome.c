#include "metronome/metronome.h"

#include "stage/json.h"
#include "stage/log.h"
#include "stage/number.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* With no interval so many have the same time, that of the first: the clock
 * would take a third of what it costs to make them. */
#define EVENTS_A_TIME 16

/* Appends a string constant or other text; returns the new end. */
static uint8_t *
put_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n);
	return to + n;
}

/* Writes the part of the event that every event shares. */
static void
put_head(struct metronome *m, const char *id)
{
	uint8_t *to = put_text(m->head, "{\"onramp\":\"");

	assert(strlen(id) <= METRONOME_MAX_ID_BYTES);
	to += json_escape(to, id, strlen(id));
	to = put_text(to, "\",\"id\":");
	m->head_bytes = (size_t)(to - m->head);
}

int
metronome_open(struct metronome *m, const struct metronome_options *options,
    const struct control *control, int out_fd)
{
	struct source_options source = {
	    .framing = options->framing,
	    .keep_bytes = METRONOME_KEEP_BYTES,
	    .drain_ns = options->drain_ns,
	    .control = *control,
	};

	*m = (struct metronome){
	    .count = options->count,
	    .interval_ns = (int64_t)options->interval_ms * LOOP_NS_PER_MS,
	    .size = options->size,
	    .most_bytes =
		FRAME_HEADER_BYTES + METRONOME_PLAIN_BYTES + options->size,
	};
	if (source_open(&m->source, &source, out_fd) == -1)
		return -1;
	put_head(m, options->id);
	m->start_ns = m->next_ns = loop_now_ns();
	return 0;
}

/* Says whether no event may be made now. Nothing but the reader ends that, or
 * another reader, so no tick needs to wake this process meanwhile. */
static bool
is_blocked(const struct metronome *m)
{
	const struct source *source = &m->source;

	if (!source->has_reader || source->breaker_open ||
	    source_is_full(source))
		return true;
	return source_unacked(source) >= METRONOME_MAX_UNACKED ||
	       keep_bytes(&source->keep) > METRONOME_KEEP_BYTES - m->most_bytes;
}

/* Makes the first tick after `now` the next one, if it was due before. */
static void
skip_ticks(struct metronome *m, int64_t now)
{
	int64_t passed;

	if (m->interval_ns == 0 || now < m->next_ns)
		return;
	passed = (now - m->start_ns) / m->interval_ns;
	m->next_ns = m->start_ns + (passed + 1) * m->interval_ns;
}

/* Writes what stands behind the id, whose length decides how much of it fills
 * the event up. */
static void
put_tail(struct metronome *m, size_t id_bytes)
{
	static const char before[] = ",\"pad\":\"", after[] = "\"}";
	uint8_t *to = put_text(m->tail, ",\"ingest_ns\":");
	size_t bytes;

	to = number_put(to, (uint64_t)loop_realtime_ns());
	bytes = m->head_bytes + id_bytes + (size_t)(to - m->tail) +
		strlen(before) + strlen(after);
	if (m->size < bytes) {
		to = put_text(to, "}");
	} else {
		to = put_text(to, before);
		memset(to, 'x', m->size - bytes);
		to = put_text(to + (m->size - bytes), after);
	}
	m->tail_bytes = (size_t)(to - m->tail);
	m->tail_id_bytes = id_bytes;
	m->tail_left = m->interval_ns == 0 ? EVENTS_A_TIME : 1;
}

static void
make_event(struct metronome *m)
{
	uint8_t id[NUMBER_MAX_BYTES], *to;
	size_t id_bytes = (size_t)(number_put(id, m->source.events) - id);

	if (m->tail_left == 0 || m->tail_id_bytes != id_bytes)
		put_tail(m, id_bytes);
	m->tail_left--;
	to = source_put(&m->source, m->head_bytes + id_bytes + m->tail_bytes);
	/* While there is no room none is made. */
	assert(to != NULL);
	memcpy(to, m->head, m->head_bytes);
	to += m->head_bytes;
	memcpy(to, id, id_bytes);
	to += id_bytes;
	memcpy(to, m->tail, m->tail_bytes);
}

/* Makes what is due: at most one event, or with no interval all that fit. */
static void
make_events(struct metronome *m, bool was_blocked)
{
	int64_t now = loop_now_ns();

	m->tail_left = 0;
	if (was_blocked)
		skip_ticks(m, now);
	while (now >= m->next_ns && m->source.events < m->count &&
	       !is_blocked(m)) {
		make_event(m);
		skip_ticks(m, now);
	}
	if (m->source.events == m->count)
		source_finish(&m->source);
}

/* One turn of the loop. Returns 0, or -1 with errno set. */
static int
turn(struct metronome *m)
{
	struct source *source = &m->source;
	bool blocked = is_blocked(m);

	source_begin(source);
	if (source->life == SOURCE_RUNNING && !blocked)
		loop_until(&source->loop, m->next_ns);
	if (source_wait(source) == -1)
		return -1;
	if (source->life == SOURCE_RUNNING)
		make_events(m, blocked);
	else
		source_finish(source);
	if (source_end(source) == -1)
		return -1;
	if (source->is_asked)
		control_report(&source->control, source_report(source));
	return 0;
}

enum exitcode
metronome_run(struct metronome *m)
{
	struct source *source = &m->source;

	log_info("running: interval_ms=%" PRId64 " output=%s",
	    m->interval_ns / LOOP_NS_PER_MS,
	    source->has_acks ? "socket with acks" : "no socket, no acks");
	control_ready(&source->control);
	while (source->life != SOURCE_DONE) {
		if (turn(m) == 0)
			continue;
		log_error("output: %m");
		source_give_up(source);
	}
	control_report(&source->control, source_report(source));
	return source->exitcode;
}

void
metronome_close(struct metronome *m)
{
	source_close(&m->source);
}
