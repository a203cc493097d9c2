#include "walproc/delivery.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "walproc/block.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Queued for the sink before it takes some. */
#define DELIVER_BYTES ((size_t)256 << 10)

/* Returns the highest number that the sink has ended. */
static uint64_t
acked_seq(const struct walproc *walproc, const struct outlet *outlet)
{
	return wal_sinks_acked_of(&walproc->wal, outlet->place);
}

/* Says whether the window and the queue have room for one event more. */
static bool
has_room(const struct outlet *outlet)
{
	return flight_has_room(&outlet->flight) &&
	       buf_bytes(&outlet->chan.out) < DELIVER_BYTES;
}

bool
delivery_is_due(const struct walproc *walproc, const struct outlet *outlet)
{
	if (outlet->damage_waits && walproc->block == WALPROC_FULL_DISK)
		return false;
	return has_room(outlet) && !outlet->breaker_is_open &&
	       !outlet->chan.out_broken &&
	       outlet->reader.next_seq <= wal_ready_seq(&walproc->wal);
}

void
delivery_tell_damage(struct walproc *walproc, const struct reader_event *damage)
{
	unsigned long held;

	if (log_limit_passes(&walproc->damage_limit, &held))
		log_error("log: %" PRIu64 " events from %" PRIu64
			  " on are %s held=%lu",
		    damage->count, damage->seq,
		    damage->from == damage->to ? "missing"
					       : "damaged: moved to quarantine",
		    held);
}

/* The log could not be read; or what is damaged could not be quarantined for
 * want of room, which passes. */
static int
read_failed(struct walproc *walproc, struct outlet *outlet)
{
	unsigned long held;

	if (io_is_full_disk(errno)) {
		if (!outlet->damage_waits &&
		    log_limit_passes(&walproc->damage_limit, &held))
			log_warn("delivery waits: the disk has no room to "
				 "quarantine what is damaged held=%lu",
			    held);
		outlet->damage_waits = true;
		wal_give_spare(&walproc->wal);
		block_set(walproc, WALPROC_FULL_DISK);
		return 0;
	}
	log_error("log: read: %m");
	return -1;
}

int
delivery_give(struct walproc *walproc, struct outlet *outlet)
{
	uint64_t ready_seq = wal_ready_seq(&walproc->wal);

	/* What was given up meanwhile is not given. */
	reader_skip_to(&outlet->reader, acked_seq(walproc, outlet) + 1);
	if (!delivery_is_due(walproc, outlet))
		return 0;
	/* Nothing else that it asks for changes in here. */
	while (has_room(outlet)) {
		struct flight_event flight = {.count = 1};
		struct reader_event event;

		switch (reader_next(&outlet->reader, ready_seq, &event)) {
		case READER_NONE:
			return 0;
		case READER_ERROR:
			return read_failed(walproc, outlet);
		case READER_DAMAGE:
			flight.state = FLIGHT_DAMAGED;
			flight.count = event.count;
			delivery_tell_damage(walproc, &event);
			break;
		case READER_EVENT:
			/* The queue has room: DELIVER_BYTES leaves it. */
			(void)chan_send(
			    &outlet->chan, event.event, event.bytes);
			break;
		}
		flight.seq = event.seq;
		flight.end_offset = event.end_offset;
		flight_add(&outlet->flight, &flight);
	}
	return 0;
}

/* Writes the letter of an event that the sink rejects: which sink it was stands
 * in it where there are several. Returns as dead_write. */
static int
write_letter(struct walproc *walproc, const struct outlet *outlet,
    const struct msg *msg, const struct reader_event *event)
{
	bool are_many = walproc->wal.sinks.are_many;
	char *reason = mem_printf("%s%s%s", are_many ? outlet->title : "",
	    are_many ? ": " : "",
	    msg->reason[0] == '\0' ? "rejected by the sink" : msg->reason);
	int result = dead_write(&walproc->dead, reason, DEAD_NONE, event->seq,
	    event->event, event->bytes);
	int saved = errno;

	free(reason);
	errno = saved;
	return result;
}

/* Moves an event that the sink can never deliver to the dead letters. Where the
 * disk is full, the answer is held, and with it all that come behind it. */
static int
reject(struct walproc *walproc, struct outlet *outlet, const struct msg *msg)
{
	const char *why;
	struct flight_event *flight =
	    flight_find(&outlet->flight, msg->n, &why);
	struct reader_event event;
	unsigned long held;

	if (flight == NULL) {
		log_error("%s: %s", outlet->title, why);
		return streams_end_sink(walproc, outlet);
	}
	if (flight->seq <= acked_seq(walproc, outlet)) {
		/* It was given up meanwhile. */
		flight->state = FLIGHT_REJECTED;
		return 0;
	}
	/* Mostly they come in order: then it stands close before. */
	if (outlet->lookup.catalog == NULL ||
	    outlet->lookup.next_seq > flight->seq)
		reader_init(
		    &outlet->lookup, &walproc->wal.catalog, flight->seq);
	reader_skip_to(&outlet->lookup, flight->seq);
	if (reader_next(&outlet->lookup, flight->seq, &event) != READER_EVENT) {
		log_error("log: event %" PRIu64
			  ", rejected by the %s, cannot be read",
		    flight->seq, outlet->title);
		return -1;
	}
	if (write_letter(walproc, outlet, msg, &event) == -1) {
		if (io_is_full_disk(errno)) {
			outlet->held = *msg;
			outlet->has_held = true;
			block_set(walproc, WALPROC_FULL_DISK);
			return 0;
		}
		log_error("dead letters: %m");
		return -1;
	}
	if (dead_sync(&walproc->dead) == -1) {
		log_error("dead letters: fdatasync: %m");
		return -1;
	}
	if (log_limit_passes(&walproc->reject_limit, &held))
		log_warn("event %" PRIu64 ": rejected by the %s: %s: to "
			 "dead-letters.ndjson held=%lu",
		    event.seq, outlet->title, msg->reason, held);
	flight->state = FLIGHT_REJECTED;
	return 0;
}

static int
take_answer(
    struct walproc *walproc, struct outlet *outlet, const struct msg *msg)
{
	const char *why;

	switch (msg->kind) {
	case MSG_ACK:
		if (flight_ack(&outlet->flight, msg->n, &why) == 0)
			return 0;
		log_error("%s: %s", outlet->title, why);
		return streams_end_sink(walproc, outlet);
	case MSG_REJECT:
		return reject(walproc, outlet, msg);
	case MSG_BREAKER_OPEN:
		outlet->breaker_is_open = true;
		log_info("%s: breaker open: %s", outlet->title, msg->reason);
		return 0;
	case MSG_BREAKER_CLOSED:
		outlet->breaker_is_open = false;
		log_info("%s: breaker closed", outlet->title);
		return 0;
	case MSG_UNKNOWN:
		break;
	}
	return 0;
}

/* Ends in the log what the sink has ended. */
static void
end_events(struct walproc *walproc, struct outlet *outlet)
{
	struct flight_event event;

	while (flight_take_acked(&outlet->flight, &event) ||
	       flight_take_ended(&outlet->flight, &event)) {
		enum wal_end how = WAL_DELIVERED;
		uint64_t last_seq = event.seq + event.count - 1;
		uint64_t acked = acked_seq(walproc, outlet);

		/* It was given up meanwhile. */
		if (last_seq <= acked)
			continue;
		if (event.state == FLIGHT_REJECTED)
			how = WAL_REJECTED;
		if (event.state == FLIGHT_DAMAGED)
			how = WAL_QUARANTINED;
		wal_end_at(&walproc->wal, outlet->place, last_seq - acked,
		    event.end_offset, how);
	}
}

/* Takes the answers of one sink. Returns 0, or -1; logged. */
static int
take_answers(struct walproc *walproc, struct outlet *outlet)
{
	struct msg msg;
	const char *why;

	if (walproc->options.acks_none) {
		if (chan_is_flushed(&outlet->chan) && !outlet->chan.out_broken)
			(void)flight_ack(
			    &outlet->flight, outlet->flight.sent, &why);
		return 0;
	}
	if (outlet->has_held && walproc->block != WALPROC_FULL_DISK) {
		outlet->has_held = false;
		msg = outlet->held;
		if (reject(walproc, outlet, &msg) == -1)
			return -1;
	}
	while (!outlet->has_held) {
		switch (chan_next_msg(&outlet->chan, &msg, &why)) {
		case FRAME_READY:
			if (take_answer(walproc, outlet, &msg) == -1)
				return -1;
			continue;
		case FRAME_TOO_LONG:
			log_error("%s: message: %s", outlet->title, why);
			if (streams_end_sink(walproc, outlet) == -1)
				return -1;
			continue;
		case FRAME_PARTIAL:
			return 0;
		}
	}
	return 0;
}

int
delivery_take_answers(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	uint64_t before = wal_acked_seq(&walproc->wal);

	for (size_t i = 0; i < streams->outlet_count; i++) {
		if (take_answers(walproc, streams->outlets[i]) == -1)
			return -1;
		end_events(walproc, streams->outlets[i]);
	}
	if (before != wal_acked_seq(&walproc->wal))
		walproc->retry_ns = 0;
	if (wal_save(&walproc->wal) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	return 0;
}

bool
delivery_has_lost_sink(
    const struct walproc *walproc, const struct outlet *outlet)
{
	return outlet->chan.out_broken ||
	       (!walproc->options.acks_none && outlet->chan.in_ended);
}

bool
delivery_let_damage_pass(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	bool has_waited = false;

	for (size_t i = 0; i < streams->outlet_count; i++) {
		struct outlet *outlet = streams->outlets[i];

		has_waited = has_waited || outlet->damage_waits;
		outlet->damage_waits = false;
	}
	return has_waited;
}
