#include "t/model.h"

#include "stage/io.h"
#include "t/must.h"
#include "t/rewind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What is promised beside the limit and two segments. */
#define DISK_SLACK UINT64_C(65536)

void
model_end_test(const struct model *m, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	ck_abort_msg("MODEL_SEED=%" PRIu64 " step %u (%s): %s", m->seed,
	    m->step, m->last_op, what);
	abort();
}

uint64_t
model_chance(struct model *m, uint64_t of)
{
	uint64_t x = m->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % of;
}

void
model_fill(const struct model_taken *taken, uint8_t *out)
{
	for (size_t i = 0; i < taken->bytes; i++)
		out[i] = (uint8_t)(taken->id >> i % 3 * 8) ^
			 (uint8_t)(i * 7 + i / 256);
}

void
model_compare(const struct model *m, enum reader_status status,
    const struct reader_event *event, uint64_t seq)
{
	HOLDS(m, status != READER_ERROR, "reading %" PRIu64 ": %s", seq,
	    strerror(errno));
	HOLDS(m, status != READER_NONE, "%" PRIu64 " is missing", seq);
	HOLDS(m, status == READER_EVENT,
	    "%" PRIu64 " events from %" PRIu64 " on are called damaged",
	    event->count, event->seq);
	HOLDS(m, event->seq == seq, "%" PRIu64 " came for %" PRIu64, event->seq,
	    seq);
	static uint8_t expected[MODEL_EVENT_BYTES];

	model_fill(&m->taken[seq], expected);
	HOLDS(m,
	    event->bytes == m->taken[seq].bytes &&
		memcmp(event->event, expected, event->bytes) == 0,
	    "event %" PRIu64 " is not what was appended", seq);
}

void
model_check_events(struct model *m)
{
	struct reader reader = {0};
	struct reader_event event;
	uint64_t last = wal_ready_seq(&m->wal);

	reader_init(&reader, &m->wal.catalog, m->acked_seq + 1);
	for (uint64_t seq = m->acked_seq + 1; seq <= last; seq++)
		model_compare(
		    m, reader_next(&reader, last, &event), &event, seq);
	HOLDS(m, reader_next(&reader, last, &event) == READER_NONE,
	    "more than up to %" PRIu64, last);
	reader_fini(&reader);
}

/* The bytes of all files, as their lengths say. */
static uint64_t
disk_bytes(const struct model *m)
{
	static const char *const others[] = {"cursor", "spare.tmp"};
	uint64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < m->wal.catalog.count; i++) {
		char name[SEGMENT_NAME_BYTES];

		segment_name(name, m->wal.catalog.segments[i].first_seq);
		HOLDS(m, fstatat(m->dir.fd, name, &st, 0) == 0,
		    "%s is not there", name);
		sum += (uint64_t)st.st_size;
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (fstatat(m->dir.fd, others[i], &st, 0) == 0)
			sum += (uint64_t)st.st_size;
	return sum;
}

uint64_t
model_disk_limit(const struct model *m)
{
	return m->limits.max_bytes + 2 * m->limits.segment_bytes + DISK_SLACK;
}

void
model_check_counts(struct model *m)
{
	const struct layout_cursor *slot = &m->wal.cursor.slot;
	uint64_t sum = slot->delivered + slot->rejected + slot->dropped +
		       slot->quarantined;
	uint64_t disk;

	HOLDS(m, m->wal.next_seq == m->next_seq,
	    "next is %" PRIu64 ", not %" PRIu64, m->wal.next_seq, m->next_seq);
	HOLDS(m, wal_elements(&m->wal) == m->next_seq - 1 - m->acked_seq,
	    "%" PRIu64 " elements", wal_elements(&m->wal));
	HOLDS(
	    m, wal_elements(&m->wal) <= m->most_elements, "too many elements");
	HOLDS(m, wal_bytes(&m->wal) <= m->most_bytes,
	    "%" PRIu64 " bytes, above %" PRIu64, wal_bytes(&m->wal),
	    m->most_bytes);
	HOLDS(m, slot->acked_seq == m->acked_seq && slot->acked_seq == sum,
	    "acked up to %" PRIu64 ", not %" PRIu64 ", the sum %" PRIu64,
	    slot->acked_seq, m->acked_seq, sum);
	HOLDS(m,
	    slot->delivered == m->ends[WAL_DELIVERED] &&
		slot->rejected == m->ends[WAL_REJECTED] &&
		slot->dropped == m->ends[WAL_DROPPED] &&
		slot->quarantined == 0 && slot->refused == m->refused,
	    "the counts of how events ended are wrong");
	if (m->wal.tail_seq == 0) {
		HOLDS(m, m->wal.durable_seq >= m->durable_seq,
		    "durable up to %" PRIu64 ", was %" PRIu64,
		    m->wal.durable_seq, m->durable_seq);
		m->durable_seq = m->wal.durable_seq;
		m->written_seq = wal_ready_seq(&m->wal);
	}
	HOLDS(m, log_dir_count(&m->dir, "quarantine") == 0,
	    "something is in quarantine");
	/* What is ended, but could not be saved, stays on the disk. */
	disk = disk_bytes(m);
	if (m->saved_acked == m->acked_seq)
		HOLDS(m, disk <= m->most_disk,
		    "%" PRIu64 " bytes on disk, above %" PRIu64, disk,
		    m->most_disk);
	if (disk <= model_disk_limit(m))
		m->most_disk = model_disk_limit(m);
}

uint64_t
model_larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void
model_rewind(struct model *m)
{
	m->given_count = 0;
	HOLDS(m, rewind_reader(&m->wal, &m->reader) == 0, "rewind: %s",
	    strerror(errno));
	m->most_elements =
	    model_larger(m->limits.max_elements, wal_elements(&m->wal));
	m->most_bytes = model_larger(m->limits.max_bytes, wal_bytes(&m->wal));
	m->is_recounted = true;
}

/* Takes over what the log made of it that the process or the power went. */
static void
take_over(struct model *m, bool is_cut)
{
	const struct layout_cursor *slot = &m->wal.cursor.slot;
	uint64_t last = m->wal.next_seq - 1;
	uint64_t kept = is_cut ? m->durable_seq : m->written_seq;

	HOLDS(m, last >= kept && last < m->next_seq,
	    "ends at %" PRIu64 ", not between %" PRIu64 " and %" PRIu64, last,
	    kept, m->next_seq - 1);
	HOLDS(m,
	    slot->acked_seq <= m->acked_seq &&
		(is_cut || slot->acked_seq >= m->saved_acked),
	    "acked up to %" PRIu64 ", not between %" PRIu64 " and %" PRIu64,
	    slot->acked_seq, m->saved_acked, m->acked_seq);
	HOLDS(m,
	    slot->refused <= m->refused &&
		slot->refused >=
		    (is_cut ? m->durable_refused : m->saved_refused),
	    "%" PRIu64 " refused, not between %" PRIu64 " and %" PRIu64,
	    slot->refused, m->saved_refused, m->refused);
	m->is_committing = false;
	m->next_seq = m->wal.next_seq;
	m->acked_seq = slot->acked_seq;
	m->ends[WAL_DELIVERED] = slot->delivered;
	m->ends[WAL_REJECTED] = slot->rejected;
	m->ends[WAL_DROPPED] = slot->dropped;
	m->refused = slot->refused;
	m->saved_acked = m->acked_seq;
	m->saved_refused = m->refused;
	m->written_seq = m->durable_seq;
	if (m->durable_refused > m->refused)
		m->durable_refused = m->refused;
}

void
model_open(struct model *m, bool is_cut)
{
	unsigned int before = power_strikes;

	for (;;) {
		enum wal_status status =
		    wal_open(&m->wal, m->dir.fd, &m->limits);

		if (status == WAL_OPEN)
			break;
		HOLDS(m, status == WAL_ERROR && power_strikes > before,
		    "does not open: %s", strerror(errno));
		power_fault = (struct power_fault){0};
		if (model_chance(m, 2) == 0) {
			power_cut(
			    &m->dir, POWER_CUT_MIXED, model_chance(m, ~0U));
			is_cut = true;
		}
	}
	HOLDS(m, wal_is_settled(&m->wal) || power_strikes > before,
	    "not settled");
	m->wal.is_lazy = m->is_lazy;
	take_over(m, is_cut);
	model_rewind(m);
	model_check_counts(m);
	model_check_events(m);
}

void
model_crash(struct model *m)
{
	static const enum power_cut cuts[] = {POWER_CUT_ALL_LOST,
	    POWER_CUT_ALL_KEPT, POWER_CUT_MIXED, POWER_CUT_MIXED};
	bool is_cut = model_chance(m, 2) == 0;

	/* What could not be saved comes again, and a tail is settled. */
	if (disk_bytes(m) > model_disk_limit(m))
		m->most_disk =
		    disk_bytes(m) + 2 * catalog_last(&m->wal.catalog)->bytes;
	wal_abandon(&m->wal);
	if (is_cut)
		power_cut(
		    &m->dir, cuts[model_chance(m, 4)], model_chance(m, ~0U));
	model_open(m, is_cut);
}

void
model_fail(struct model *m)
{
	HOLDS(m, power_strikes > m->strikes, "failed: %s", strerror(errno));
	m->strikes = power_strikes;
	if (!io_is_full_disk(errno))
		model_crash(m);
}

bool
model_settle(struct model *m)
{
	int result;

	if (wal_is_settled(&m->wal))
		return true;
	result = wal_probe(&m->wal);
	HOLDS(m,
	    m->wal.next_seq <= m->next_seq && m->wal.next_seq > m->durable_seq,
	    "settled at %" PRIu64, m->wal.next_seq);
	m->next_seq = m->wal.next_seq;
	/* What settled stands in a segment of its own now. */
	m->most_bytes = model_larger(m->most_bytes, wal_bytes(&m->wal));
	m->is_recounted = true;
	if (result == -1) {
		model_fail(m);
		return false;
	}
	return true;
}
