/*
 * The sinks of a log against a model of them: chosen at random, events are
 * appended, each sink ends some, sinks are named and forgotten, the process
 * crashes, the power is cut, the log is closed and opened. Whatever happens, a
 * sink finds all that it has not ended, in order, and each that was ended is
 * counted once.
 *
 * SINKS_SEED runs one seed, SINKS_STEPS that many steps a seed.
 */
#include "stage/log.h"
#include "t/power.h"
#include "t/steps.h"
#include "t/suite.h"

#include <check.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 60
#define STEPS 400
#define SINKS 5

static const char *const names[SINKS] = {"a", "b", "c", "d", "e"};

/* What must be true of one sink. */
struct known {
	bool is_named;
	uint64_t acked_seq; /* it has ended no more than this */
	uint64_t saved_seq; /* a crash does not take it back behind this */
};

static struct {
	struct wal wal;
	struct pieces pieces; /* of this process */
	struct known sinks[SINKS];
	uint64_t synced_seq;
	uint64_t random;
	uint64_t seed;
	unsigned int step;
} m;

static uint64_t
chance(uint64_t of)
{
	/* xorshift64: Marsaglia, Xorshift RNGs, 2003 */
	m.random ^= m.random << 13;
	m.random ^= m.random >> 7;
	m.random ^= m.random << 17;
	return m.random % of;
}

#define HOLDS(condition, ...) \
	do { \
		if (!(condition)) { \
			(void)fprintf(stderr, __VA_ARGS__); \
			ck_abort_msg("SINKS_SEED=%" PRIu64 " step %u: %s", \
			    m.seed, m.step, #condition); \
		} \
	} while (0)

/* Returns the place of a sink that is named. */
static size_t
place_of(size_t sink)
{
	return wal_sinks_place(&m.wal, names[sink]);
}

static uint64_t
acked_of(size_t sink)
{
	return wal_sinks_acked_of(&m.wal, place_of(sink));
}

static void
check_sums(const struct layout_cursor *slot)
{
	HOLDS(slot->acked_seq == slot->delivered + slot->rejected +
				     slot->dropped + slot->quarantined,
	    "counts do not add up\n");
}

/* What is stored is counted from behind the last event that all have ended, or
 * somewhat before: its batch, the tail of an earlier start behind it, and the
 * header of a segment, which are no more than a segment. */
static void
check_bytes(void)
{
	const struct segment *last = catalog_last(&m.wal.catalog);
	uint64_t from, bytes;

	if (wal_elements(&m.wal) == 0)
		return;
	ck_assert_int_eq(
	    wal_find_offset(&m.wal, wal_acked_seq(&m.wal), &from), 0);
	bytes = last->log_offset + last->end_offset - from;
	HOLDS(wal_bytes(&m.wal) <= bytes + steps_limits.segment_bytes,
	    "%" PRIu64 " bytes are stored, not %" PRIu64 "\n",
	    wal_bytes(&m.wal), bytes);
	HOLDS(wal_bytes(&m.wal) >= wal_elements(&m.wal) * LAYOUT_RECORD_BYTES,
	    "%" PRIu64 " bytes are stored\n", wal_bytes(&m.wal));
}

/* What must hold after each step. */
static void
check_all(void)
{
	uint64_t least = UINT64_MAX;
	size_t count = 0;

	check_sums(&m.wal.cursor.slot);
	for (size_t i = 0; i < SINKS; i++) {
		if (!m.sinks[i].is_named) {
			HOLDS(place_of(i) == WAL_SINKS_NONE, "%s\n", names[i]);
			continue;
		}
		count++;
		check_sums(wal_sinks_slot(&m.wal, place_of(i)));
		HOLDS(acked_of(i) == m.sinks[i].acked_seq, "%s\n", names[i]);
		if (acked_of(i) < least)
			least = acked_of(i);
	}
	HOLDS(count == 0 || wal_acked_seq(&m.wal) == least,
	    "the log ends at %" PRIu64 ", its sinks at %" PRIu64 "\n",
	    wal_acked_seq(&m.wal), least);
	check_bytes();
}

/* Reads on from where a sink stands, and ends the first `count` of what it
 * reads. All that is ready must be there. */
static void
read_all(size_t sink, uint64_t count)
{
	struct reader reader = {0};
	struct reader_event event;
	uint64_t seq = acked_of(sink) + 1, end = seq + count;
	char expected[LOG_EVENT_ROOM];

	reader_init(&reader, &m.wal.catalog, seq);
	reader.recent = &m.wal.recent;
	reader.pieces = &m.pieces;
	for (; seq <= wal_ready_seq(&m.wal); seq++) {
		HOLDS(reader_next(&reader, wal_ready_seq(&m.wal), &event) ==
			  READER_EVENT,
		    "%s: event %" PRIu64 "\n", names[sink], seq);
		HOLDS(event.seq == seq &&
			  event.bytes == steps_event(seq, expected) &&
			  memcmp(event.event, expected, event.bytes) == 0,
		    "%s: event %" PRIu64 "\n", names[sink], seq);
		if (seq < end)
			wal_end_at(&m.wal, place_of(sink), 1, event.end_offset,
			    chance(20) == 0 ? WAL_REJECTED : WAL_DELIVERED);
	}
	m.sinks[sink].acked_seq = acked_of(sink);
	reader_fini(&reader);
}

static void
note_saved(void)
{
	ck_assert_int_eq(wal_save(&m.wal), 0);
	for (size_t i = 0; i < SINKS; i++)
		m.sinks[i].saved_seq = m.sinks[i].acked_seq;
}

/* Gives up the oldest events, for all sinks. */
static void
drop_some(void)
{
	struct reader reader = {0};
	struct reader_event event;
	uint64_t seq = wal_acked_seq(&m.wal) + 1;

	reader_init(&reader, &m.wal.catalog, seq);
	for (uint64_t left = chance(10);
	     left > 0 && seq <= wal_ready_seq(&m.wal); left--, seq++) {
		ck_assert_int_eq(
		    reader_next(&reader, wal_ready_seq(&m.wal), &event),
		    READER_EVENT);
		wal_end(&m.wal, 1, event.end_offset, WAL_DROPPED);
		for (size_t i = 0; i < SINKS; i++)
			if (m.sinks[i].acked_seq < seq)
				m.sinks[i].acked_seq = seq;
	}
	reader_fini(&reader);
}

/* Names the sinks that the model says are named. Those that were before must be
 * where they were, or where a crash may have put them. */
static void
name_all(const bool was_named[SINKS], bool is_cut)
{
	const char *list[SINKS];
	uint64_t before = wal_acked_seq(&m.wal);
	size_t count = 0;

	for (size_t i = 0; i < SINKS; i++)
		if (m.sinks[i].is_named)
			list[count++] = names[i];
	ck_assert_int_eq(wal_sinks_name(&m.wal, list, count), 0);
	for (size_t i = 0; i < SINKS; i++) {
		struct known *known = &m.sinks[i];

		if (!known->is_named)
			continue;
		if (!was_named[i]) {
			/* What the log had ended before, and no more. */
			HOLDS(acked_of(i) == before, "%s\n", names[i]);
		} else {
			HOLDS(acked_of(i) <= known->acked_seq,
			    "%s: from %" PRIu64 " to %" PRIu64 "\n", names[i],
			    known->acked_seq, acked_of(i));
			HOLDS(is_cut || acked_of(i) >= known->saved_seq,
			    "%s: back behind %" PRIu64 "\n", names[i],
			    known->saved_seq);
		}
		known->acked_seq = known->saved_seq = acked_of(i);
		read_all(i, 0);
	}
}

/* Changes which sinks there are. */
static void
choose_sinks(bool was_named[SINKS])
{
	for (size_t i = 0; i < SINKS; i++) {
		was_named[i] = m.sinks[i].is_named;
		m.sinks[i].is_named = chance(3) != 0;
	}
	/* Without any nothing says where the log ends. */
	if (!m.sinks[0].is_named && !m.sinks[1].is_named)
		m.sinks[chance(2)].is_named = true;
}

static void
keep_sinks(bool was_named[SINKS])
{
	for (size_t i = 0; i < SINKS; i++)
		was_named[i] = m.sinks[i].is_named;
}

/* The process ends in some way, and another begins. */
static void
start_again(void)
{
	static const enum power_cut cuts[] = {POWER_CUT_ALL_LOST,
	    POWER_CUT_ALL_KEPT, POWER_CUT_MIXED, POWER_CUT_MIXED};
	bool was_named[SINKS], is_cut = chance(2) == 0;

	if (chance(4) == 0) {
		note_saved();
		ck_assert_int_eq(wal_close(&m.wal), 0);
		is_cut = false;
	} else {
		wal_abandon(&m.wal);
		if (is_cut)
			power_cut(&steps_dir, cuts[chance(4)], m.random);
	}
	pieces_fini(&m.pieces);
	steps_open(&m.wal, &steps_limits);
	HOLDS(m.wal.next_seq >= m.synced_seq + 1, "%" PRIu64 " are gone\n",
	    m.synced_seq + 1 - m.wal.next_seq);
	if (chance(3) == 0)
		choose_sinks(was_named);
	else
		keep_sinks(was_named);
	name_all(was_named, is_cut);
}

static void
take_step(void)
{
	bool was_named[SINKS];
	size_t sink = chance(SINKS);

	switch (chance(12)) {
	case 0:
	case 1:
	case 2:
		steps_append(&m.wal, 1 + chance(30));
		ck_assert_int_eq(wal_sync(&m.wal), 0);
		m.synced_seq = m.wal.next_seq - 1;
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		if (m.sinks[sink].is_named)
			read_all(sink, chance(40));
		break;
	case 7:
		drop_some();
		break;
	case 8:
	case 9:
		note_saved();
		break;
	case 10:
		choose_sinks(was_named);
		name_all(was_named, false);
		note_saved();
		break;
	default:
		start_again();
		break;
	}
	check_all();
}

/* Returns the number in a variable of the environment, or `otherwise`. */
static uint64_t
number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void
run_seed(uint64_t seed)
{
	uint64_t steps = number_of("SINKS_STEPS", STEPS);
	bool was_named[SINKS] = {false};

	memset(&m, 0, sizeof(m));
	m.seed = seed;
	m.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	steps_begin();
	power_reset();
	steps_open(&m.wal, &steps_limits);
	choose_sinks(was_named);
	name_all(was_named, false);
	for (m.step = 0; m.step < steps; m.step++)
		take_step();
	ck_assert_int_eq(wal_close(&m.wal), 0);
	pieces_fini(&m.pieces);
}

START_TEST(test_sinks_against_a_model)
{
	run_seed(number_of("SINKS_SEED", (uint64_t)_i + 1));
}
END_TEST

/* A cursor of a sink for which the disk has no room keeps no segment there:
 * then there would never be any. */
START_TEST(test_a_full_disk_lets_go_what_is_ended)
{
	static const char *const two[] = {"a", "b"};

	steps_begin();
	power_reset();
	memset(&m, 0, sizeof(m));
	m.random = 1;
	steps_open(&m.wal, &steps_limits);
	ck_assert_int_eq(wal_sinks_name(&m.wal, two, 2), 0);
	for (int i = 0; i < 10; i++) {
		steps_append(&m.wal, 20);
		ck_assert_int_eq(wal_sync(&m.wal), 0);
	}
	ck_assert_uint_gt(m.wal.catalog.count, 2);
	read_all(0, 200);
	read_all(1, 200);
	power_fault = (struct power_fault){
	    .call = POWER_WRITE,
	    .in = 1,
	    .error = ENOSPC,
	};
	ck_assert_int_eq(wal_save(&m.wal), 0);
	ck_assert_uint_eq(m.wal.catalog.count, 1);
	/* And it is written when there is. */
	ck_assert_int_eq(wal_save(&m.wal), 0);
	for (size_t i = 0; i < 2; i++)
		ck_assert_uint_eq(m.wal.sinks.list[i].saved_seq, 200);
	ck_assert_int_eq(wal_close(&m.wal), 0);
	pieces_fini(&m.pieces);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sinks");
	TCase *tests = tcase_create("sinks");
	bool is_one = getenv("SINKS_SEED") != NULL;

	log_init("check_sinks", LOG_ERROR);
	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 0);
	tcase_add_unchecked_fixture(tests, steps_init, steps_fini);
	tcase_add_loop_test(
	    tests, test_sinks_against_a_model, 0, is_one ? 1 : SEEDS);
	tcase_add_test(tests, test_a_full_disk_lets_go_what_is_ended);
	return suite_run(suite);
}
