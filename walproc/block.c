#include "walproc/block.h"

#include "stage/io.h"
#include "walproc/delivery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DISK_RETRY_NS LOOP_NS_PER_S

void
block_put(const struct walproc *walproc, struct msg *msg)
{
	const struct wal_limits *limits = &walproc->wal.limits;

	*msg = (struct msg){.kind = MSG_BREAKER_OPEN};
	if (walproc->block == WALPROC_FULL_DISK)
		(void)snprintf(msg->reason, sizeof(msg->reason), "disk full");
	else if (wal_elements(&walproc->wal) >= limits->max_elements)
		(void)snprintf(msg->reason, sizeof(msg->reason),
		    "log full: %" PRIu64 " events of %" PRIu64,
		    wal_elements(&walproc->wal), limits->max_elements);
	else
		(void)snprintf(msg->reason, sizeof(msg->reason),
		    "log full: %" PRIu64 " bytes of %" PRIu64,
		    wal_bytes(&walproc->wal), limits->max_bytes);
}

/* Sends a message to each source. */
static void
tell_all(struct walproc *walproc, const struct msg *msg)
{
	struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->inlet_count; i++)
		chan_send_msg(&streams->inlets[i]->chan, msg);
}

void
block_set(struct walproc *walproc, enum walproc_block block)
{
	struct msg msg;
	unsigned long held;

	walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
	if (walproc->block == block)
		return;
	walproc->block = block;
	block_put(walproc, &msg);
	/* Under load this is ordinary flow control, many times a second. */
	walproc->block_is_told = log_limit_passes(&walproc->block_limit, &held);
	if (walproc->block_is_told)
		log_warn("intake paused: %s held=%lu", msg.reason, held);
	tell_all(walproc, &msg);
}

/*
 * Says whether what stopped the intake has passed: 1, 0, or -1 when the disk
 * failed otherwise than by being full; logged.
 */
static int
has_passed(struct walproc *walproc)
{
	/* The event that waits, if one does, must find its room too. */
	if (walproc->block == WALPROC_FULL_LOG)
		return wal_is_relieved(&walproc->wal) &&
		       wal_room(&walproc->wal, walproc->wanted_bytes) ==
			   WAL_ROOM;
	if (loop_now_ns() < walproc->retry_ns)
		return 0;
	walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
	/* What is damaged has the first of the room, or the intake would take
	 * it, and the delivery wait for ever. */
	if (delivery_let_damage_pass(walproc))
		return 0;
	/* Letters that were moved away hold their space while open here. */
	if (dead_refresh(&walproc->dead) == 0 && wal_probe(&walproc->wal) == 0)
		return 1;
	if (io_is_full_disk(errno))
		return 0;
	log_error("log: %m");
	return -1;
}

/* Reads what has come while the intake was stopped: else those of whom some was
 * here already would be alone in taking what little room there is now. Returns
 * 0, or -1; logged. */
static int
pull_all(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	if (streams->inlet_count == 1)
		return 0;
	for (size_t i = 0; i < streams->inlet_count; i++) {
		struct inlet *inlet = streams->inlets[i];
		size_t before = buf_bytes(&inlet->chan.in);

		if (chan_pull(&inlet->chan) == -1) {
			log_error("%s: %m", inlet->title);
			return -1;
		}
		if (buf_bytes(&inlet->chan.in) != before)
			walproc->has_read = true;
	}
	return 0;
}

int
block_lift(struct walproc *walproc)
{
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};
	int passed;

	if (walproc->block == WALPROC_TAKING)
		return 0;
	passed = has_passed(walproc);
	if (passed != 1)
		return passed;
	walproc->block = WALPROC_TAKING;
	walproc->wanted_bytes = 0;
	if (walproc->block_is_told)
		log_info("intake goes on");
	tell_all(walproc, &msg);
	return pull_all(walproc);
}
