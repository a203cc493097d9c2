#include "walproc/commit.h"

#include "stage/io.h"
#include "walproc/block.h"

#include <errno.h>

/* Tells one source how many of its events are safe by now. What an earlier one
 * in its place has sent is of no account to it. */
static void
ack_to(struct inlet *inlet)
{
	struct msg msg = {.kind = MSG_ACK};

	if (inlet->committing > inlet->before &&
	    inlet->committing > inlet->acked) {
		msg.n = inlet->committing - inlet->before;
		chan_send_msg(&inlet->chan, &msg);
	}
	inlet->acked = inlet->committing;
}

/* Acks the events that a commit has made safe. */
static int
ack(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	walproc->is_committing = false;
	if (wal_save(&walproc->wal) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	/* Only now: this is the promise. */
	for (size_t i = 0; i < streams->inlet_count; i++)
		ack_to(streams->inlets[i]);
	walproc->taken_acked = walproc->committing;
	return 0;
}

/* Takes the end of a commit, 1, 0 or -1 as wal_commit_end says. */
static int
take_commit(struct walproc *walproc, int result)
{
	if (result == 1)
		return ack(walproc);
	if (result == 0)
		return 0;
	if (io_is_full_disk(errno)) {
		block_set(walproc, WALPROC_FULL_DISK);
		return 0;
	}
	log_error("log: write or sync: %m");
	return -1;
}

/* Dead letters that are not durable yet are made so first. */
static int
sync_dead(struct walproc *walproc)
{
	if (dead_sync(&walproc->dead) == 0) {
		/* Only now: a count on record means a letter that is there. */
		for (; walproc->refused_waits > 0; walproc->refused_waits--)
			wal_count_refused(&walproc->wal);
		wal_note_letters(&walproc->wal, walproc->dead.end_bytes);
		return 0;
	}
	log_error("dead letters: fdatasync: %m");
	return -1;
}

/* Notes what the commit that begins makes safe. */
static void
note_taken(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	walproc->committing = walproc->taken;
	for (size_t i = 0; i < streams->inlet_count; i++)
		streams->inlets[i]->committing = streams->inlets[i]->taken;
}

int
commit_turn(struct walproc *walproc)
{
	int result;

	if (walproc->is_committing &&
	    take_commit(walproc, wal_commit_end(&walproc->wal)) == -1)
		return -1;
	if (walproc->is_committing || walproc->taken == walproc->taken_acked)
		return 0;
	if (sync_dead(walproc) == -1)
		return -1;
	note_taken(walproc);
	result = wal_commit_begin(&walproc->wal);
	walproc->is_committing = result == 0;
	return take_commit(walproc, result);
}

int
commit_all(struct walproc *walproc)
{
	if (walproc->taken == walproc->taken_acked)
		return 0;
	if (sync_dead(walproc) == -1)
		return -1;
	note_taken(walproc);
	return take_commit(walproc, wal_commit(&walproc->wal) == -1 ? -1 : 1);
}
