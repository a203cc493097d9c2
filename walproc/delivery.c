#include "walproc/delivery.h"

#include "stage/io.h"
#include "walproc/intake.h"

#include <errno.h>
#include <inttypes.h>

/* Queued for the sink before it takes some. */
#define DELIVER_BYTES ((size_t)256 << 10)

bool
delivery_is_due(const struct walproc *walproc)
{
	if (walproc->damage_waits && walproc->block == WALPROC_FULL_DISK)
		return false;
	return flight_has_room(&walproc->flight) && !walproc->breaker_is_open &&
	       !walproc->down.out_broken &&
	       buf_bytes(&walproc->down.out) < DELIVER_BYTES &&
	       walproc->reader.next_seq <= wal_ready_seq(&walproc->wal);
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
read_failed(struct walproc *walproc)
{
	unsigned long held;

	if (io_is_full_disk(errno)) {
		if (!walproc->damage_waits &&
		    log_limit_passes(&walproc->damage_limit, &held))
			log_warn("delivery waits: the disk has no room to "
				 "quarantine what is damaged held=%lu",
			    held);
		walproc->damage_waits = true;
		wal_give_spare(&walproc->wal);
		intake_block(walproc, WALPROC_FULL_DISK);
		return 0;
	}
	log_error("log: read: %m");
	return -1;
}

int
delivery_give(struct walproc *walproc)
{
	/* What was given up meanwhile is not given. */
	reader_skip_to(&walproc->reader, wal_acked_seq(&walproc->wal) + 1);
	while (delivery_is_due(walproc)) {
		struct flight_event flight = {.count = 1};
		struct reader_event event;

		switch (reader_next(
		    &walproc->reader, wal_ready_seq(&walproc->wal), &event)) {
		case READER_NONE:
			return 0;
		case READER_ERROR:
			return read_failed(walproc);
		case READER_DAMAGE:
			flight.state = FLIGHT_DAMAGED;
			flight.count = event.count;
			delivery_tell_damage(walproc, &event);
			break;
		case READER_EVENT:
			/* The queue has room: DELIVER_BYTES leaves it. */
			(void)chan_send(
			    &walproc->down, event.event, event.bytes);
			break;
		}
		flight.seq = event.seq;
		flight.end_offset = event.end_offset;
		flight_add(&walproc->flight, &flight);
	}
	return 0;
}

/* Moves an event that the sink can never deliver to the dead letters. Where the
 * disk is full, the answer is held, and with it all that come behind it. */
static int
reject(struct walproc *walproc, const struct msg *msg)
{
	const char *why;
	struct flight_event *flight =
	    flight_find(&walproc->flight, msg->n, &why);
	struct reader_event event;
	unsigned long held;

	if (flight == NULL) {
		log_error("sink: %s", why);
		return streams_end(walproc, &walproc->down);
	}
	if (flight->seq <= wal_acked_seq(&walproc->wal)) {
		/* It was given up meanwhile. */
		flight->state = FLIGHT_REJECTED;
		return 0;
	}
	/* Mostly they come in order: then it stands close before. */
	if (walproc->lookup.catalog == NULL ||
	    walproc->lookup.next_seq > flight->seq)
		reader_init(
		    &walproc->lookup, &walproc->wal.catalog, flight->seq);
	reader_skip_to(&walproc->lookup, flight->seq);
	if (reader_next(&walproc->lookup, flight->seq, &event) !=
	    READER_EVENT) {
		log_error("log: event %" PRIu64
			  ", rejected by the sink, cannot be read",
		    flight->seq);
		return -1;
	}
	if (dead_write(&walproc->dead,
		msg->reason[0] == '\0' ? "rejected by the sink" : msg->reason,
		DEAD_NONE, event.seq, event.event, event.bytes) == -1) {
		if (io_is_full_disk(errno)) {
			walproc->held = *msg;
			walproc->has_held = true;
			intake_block(walproc, WALPROC_FULL_DISK);
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
		log_warn("event %" PRIu64 ": rejected by the sink: %s: to "
			 "dead-letters.ndjson held=%lu",
		    event.seq, msg->reason, held);
	flight->state = FLIGHT_REJECTED;
	return 0;
}

static int
take_answer(struct walproc *walproc, const struct msg *msg)
{
	const char *why;

	switch (msg->kind) {
	case MSG_ACK:
		if (flight_ack(&walproc->flight, msg->n, &why) == 0)
			return 0;
		log_error("sink: %s", why);
		return streams_end(walproc, &walproc->down);
	case MSG_REJECT:
		return reject(walproc, msg);
	case MSG_BREAKER_OPEN:
		walproc->breaker_is_open = true;
		log_info("sink: breaker open: %s", msg->reason);
		return 0;
	case MSG_BREAKER_CLOSED:
		walproc->breaker_is_open = false;
		log_info("sink: breaker closed");
		return 0;
	case MSG_UNKNOWN:
		break;
	}
	return 0;
}

/* Ends in the log what the sink has ended. */
static int
end_events(struct walproc *walproc)
{
	struct flight_event event;
	uint64_t before = wal_acked_seq(&walproc->wal);

	while (flight_take_acked(&walproc->flight, &event) ||
	       flight_take_ended(&walproc->flight, &event)) {
		enum wal_end how = WAL_DELIVERED;
		uint64_t last_seq = event.seq + event.count - 1;
		uint64_t acked_seq = wal_acked_seq(&walproc->wal);

		/* It was given up meanwhile. */
		if (last_seq <= acked_seq)
			continue;
		if (event.state == FLIGHT_REJECTED)
			how = WAL_REJECTED;
		if (event.state == FLIGHT_DAMAGED)
			how = WAL_QUARANTINED;
		wal_end(
		    &walproc->wal, last_seq - acked_seq, event.end_offset, how);
	}
	if (before != wal_acked_seq(&walproc->wal))
		walproc->retry_ns = 0;
	if (wal_save(&walproc->wal) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	return 0;
}

int
delivery_take_answers(struct walproc *walproc)
{
	struct msg msg;
	const char *why;

	if (walproc->options.acks_none) {
		if (chan_is_flushed(&walproc->down) &&
		    !walproc->down.out_broken)
			(void)flight_ack(
			    &walproc->flight, walproc->flight.sent, &why);
		return end_events(walproc);
	}
	if (walproc->has_held && walproc->block != WALPROC_FULL_DISK) {
		walproc->has_held = false;
		msg = walproc->held;
		if (reject(walproc, &msg) == -1)
			return -1;
	}
	while (!walproc->has_held) {
		switch (chan_next_msg(&walproc->down, &msg, &why)) {
		case FRAME_READY:
			if (take_answer(walproc, &msg) == -1)
				return -1;
			continue;
		case FRAME_TOO_LONG:
			log_error("sink: message: %s", why);
			if (streams_end(walproc, &walproc->down) == -1)
				return -1;
			continue;
		case FRAME_PARTIAL:
			return end_events(walproc);
		}
	}
	return end_events(walproc);
}

bool
delivery_has_lost_sink(const struct walproc *walproc)
{
	return walproc->down.out_broken ||
	       (!walproc->options.acks_none && walproc->down.in_ended);
}
