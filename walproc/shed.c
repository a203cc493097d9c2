#include "walproc/shed.h"

#include "stage/io.h"
#include "walproc/delivery.h"

#include <errno.h>
#include <inttypes.h>

void
shed_fini(struct shed *shed)
{
	reader_fini(&shed->reader);
}

void
shed_tell(struct shed *shed, const char *why, uint64_t total)
{
	unsigned long held;

	if (log_limit_passes(&shed->limit, &held))
		log_warn("%s: an event is dropped held=%lu dropped=%" PRIu64,
		    why, held, total);
}

/*
 * Reads the oldest event that is not ended, if it is ready and was not read
 * before. Returns 1, 0 if there is none, or -1 with errno set.
 */
static int
find_oldest(struct walproc *walproc)
{
	struct shed *shed = &walproc->shed;
	struct wal *wal = &walproc->wal;
	uint64_t seq = wal_acked_seq(wal) + 1;

	if (shed->has_oldest && shed->oldest.seq + shed->oldest.count > seq)
		return 1;
	shed->has_oldest = false;
	if (shed->reader.catalog == NULL)
		reader_init(&shed->reader, &wal->catalog, seq);
	reader_skip_to(&shed->reader, seq);
	switch (reader_next(&shed->reader, wal_ready_seq(wal), &shed->oldest)) {
	case READER_EVENT:
	case READER_DAMAGE:
		shed->has_oldest = true;
		return 1;
	case READER_NONE:
		return 0;
	case READER_ERROR:
		break;
	}
	return -1;
}

/* Ends the oldest event, which find_oldest has found. 0, or -1. */
static int
drop_oldest(struct walproc *walproc, const char *why)
{
	const struct reader_event *oldest = &walproc->shed.oldest;
	struct wal *wal = &walproc->wal;
	uint64_t count = oldest->seq + oldest->count - 1 - wal_acked_seq(wal);
	const struct layout_cursor *slot = &wal->cursor.slot;

	/* Damaged ones are lost already; that is another count. */
	wal_end(wal, count, oldest->end_offset,
	    oldest->event == NULL ? WAL_QUARANTINED : WAL_DROPPED);
	if (oldest->event == NULL)
		delivery_tell_damage(walproc, oldest);
	else
		shed_tell(
		    &walproc->shed, why, slot->dropped + slot->dropped_newest);
	/* At once where that frees a file, so that the promise on disk use
	 * holds within a turn too. */
	if (wal->catalog.count > 1 &&
	    wal->catalog.segments[0].next_seq - 1 <= wal_acked_seq(wal))
		return wal_save(wal);
	return 0;
}

int
shed_for_room(struct walproc *walproc, size_t bytes)
{
	while (wal_room(&walproc->wal, bytes) == WAL_FULL) {
		int found = find_oldest(walproc);

		if (found == -1)
			return -1;
		if (found == 0) {
			walproc->shed.commits++;
			if (wal_commit(&walproc->wal) == -1)
				return -1;
		}
		if (found == 1 && drop_oldest(walproc, "log full") == -1)
			return -1;
	}
	return 0;
}

int
shed_expired(struct walproc *walproc)
{
	int64_t max_age_ns = walproc->options.max_age_ns, now, at;
	int found;

	if (max_age_ns == LOOP_NEVER)
		return 0;
	now = loop_realtime_ns();
	if (now < walproc->shed.check_ns)
		return 0;
	/* What comes from now on is not too old before that. */
	walproc->shed.check_ns = now + max_age_ns;
	while ((found = find_oldest(walproc)) == 1) {
		at = walproc->shed.oldest.realtime_ns + max_age_ns;
		if (walproc->shed.oldest.event != NULL && at > now) {
			if (at < walproc->shed.check_ns)
				walproc->shed.check_ns = at;
			break;
		}
		if (drop_oldest(walproc, "older than --max-age") == -1)
			return -1;
	}
	if (found == -1 && !io_is_full_disk(errno))
		return -1;
	/* What is damaged waits for room to be quarantined. */
	if (found == -1)
		walproc->shed.check_ns = now + LOOP_NS_PER_S;
	return wal_save(&walproc->wal);
}

int64_t
shed_due_ns(const struct walproc *walproc)
{
	int64_t wait;

	if (walproc->options.max_age_ns == LOOP_NEVER ||
	    wal_elements(&walproc->wal) == 0)
		return LOOP_NEVER;
	wait = walproc->shed.check_ns - loop_realtime_ns();
	return loop_now_ns() + (wait > 0 ? wait : 0);
}
