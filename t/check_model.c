/*
 * The log against a model of it in memory: chosen at random, events of any
 * size are appended, synced, given, ended and saved; the process crashes, the
 * power is cut, calls fail, the disk is full, the log is closed and opened.
 * After each step the log must be what the model says: all that was made
 * durable and is not ended is there, in order, and the counts and limits hold.
 *
 * MODEL_SEED runs one seed, MODEL_STEPS that many steps a seed.
 */
#include "t/model.h"

#include "stage/log.h"
#include "t/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEDS 16
#define STEPS 2000
/* How long a sync may take, on a disk that others use too. */
#define SYNC_PATIENCE_MS 60000
/* More than what one event costs beside its own bytes. */
#define OVERHEAD UINT64_C(256)

static struct model model;
static uint8_t *expected; /* room for the largest event */

/* How large the next event is: most are small, some take three segments. */
static size_t
any_size(struct model *m)
{
	size_t segment = (size_t)m->limits.segment_bytes;

	switch (model_chance(m, 20)) {
	case 0:
		return 1 + model_chance(m, 3 * segment);
	case 1:
	case 2:
		return 1 + model_chance(m, segment);
	case 3:
		return 1 + model_chance(m, 3);
	case 4:
	case 5:
	case 6:
		return 1 + model_chance(m, 2000);
	default:
		return 1 + model_chance(m, 150);
	}
}

/* The log may say that it is full only where that is near. */
static void
check_full(const struct model *m, enum wal_room room, size_t bytes)
{
	uint64_t cost = bytes + LAYOUT_DATA_OFFSET + OVERHEAD;

	if (room == WAL_NEVER_FITS)
		HOLDS(m, cost > m->limits.max_bytes,
		    "an event of %zu bytes would fit", bytes);
	else
		HOLDS(m,
		    wal_elements(&m->wal) >= m->limits.max_elements ||
			wal_bytes(&m->wal) + cost > m->limits.max_bytes,
		    "full too early: %" PRIu64 " bytes", wal_bytes(&m->wal));
}

/* Appends one event, if there is room. Says whether there was. */
static bool
append_one(struct model *m)
{
	struct model_taken taken = {.id = ++m->next_id, .bytes = any_size(m)};
	bool is_quick = model_chance(m, 2) == 0;
	enum wal_room room;

	if (!model_settle(m))
		return false;
	room = wal_room(&m->wal, taken.bytes);
	model_fill(&taken, expected);
	if (is_quick && wal_append_quickly(&m->wal, expected, taken.bytes))
		HOLDS(m, room == WAL_ROOM, "appended without room");
	else
		is_quick = false;
	if (room != WAL_ROOM) {
		check_full(m, room, taken.bytes);
		return false;
	}
	if (m->next_seq >= m->room) {
		m->room = m->room == 0 ? 1024 : 2 * m->room;
		m->taken = realloc(m->taken, m->room * sizeof(*m->taken));
		ck_assert_ptr_nonnull(m->taken);
	}
	if (!is_quick && wal_append(&m->wal, expected, taken.bytes) == -1) {
		model_fail(m);
		return false;
	}
	m->taken[m->next_seq++] = taken;
	m->is_recounted = false;
	HOLDS(m,
	    wal_elements(&m->wal) <= m->limits.max_elements &&
		wal_bytes(&m->wal) <= m->limits.max_bytes,
	    "%" PRIu64 " elements, %" PRIu64 " bytes", wal_elements(&m->wal),
	    wal_bytes(&m->wal));
	return true;
}

static void
op_append(struct model *m)
{
	for (uint64_t left = 1 + model_chance(m, 8); left > 0; left--)
		if (!append_one(m))
			break;
}

static void
op_save(struct model *m)
{
	unsigned int before = power_strikes;

	if (wal_save(&m->wal) == -1) {
		model_fail(m);
		return;
	}
	/* A full disk is no error here, but then nothing is saved. */
	if (power_strikes > before)
		return;
	m->saved_acked = m->acked_seq;
	m->saved_refused = m->refused;
}

static void
op_commit(struct model *m)
{
	if (!model_settle(m))
		return;
	m->is_committing = false;
	if (wal_commit(&m->wal) == -1) {
		model_fail(m);
		return;
	}
	HOLDS(m, wal_ready_seq(&m->wal) == m->next_seq - 1,
	    "ready up to %" PRIu64, wal_ready_seq(&m->wal));
	if (!m->is_lazy)
		m->durable_refused = m->refused;
	op_save(m);
}

/* Begins a commit and waits until its end could be taken. */
static void
op_begin(struct model *m)
{
	struct pollfd poll_fd = {.events = POLLIN};
	int result;

	if (!model_settle(m) || m->is_committing)
		return;
	result = wal_commit_begin(&m->wal);
	if (result == -1) {
		model_fail(m);
		return;
	}
	m->begun_refused = m->refused;
	m->is_committing = result == 0;
	if (result == 1) {
		if (!m->is_lazy)
			m->durable_refused = m->refused;
		return;
	}
	poll_fd.fd = wal_poll_fd(&m->wal);
	HOLDS(
	    m, poll(&poll_fd, 1, SYNC_PATIENCE_MS) == 1, "a sync does not end");
}

static void
op_take(struct model *m)
{
	uint64_t up_to = m->wal.syncing_seq;
	int result;

	if (!m->is_committing)
		return;
	m->is_committing = false;
	result = wal_commit_end(&m->wal);
	if (result == -1) {
		model_fail(m);
		return;
	}
	HOLDS(m, result == 1 && m->wal.durable_seq >= up_to,
	    "durable up to %" PRIu64, m->wal.durable_seq);
	m->durable_refused = m->begun_refused;
}

static void
op_fill(struct model *m)
{
	for (unsigned int left = 3000; left > 0 && append_one(m); left--)
		if (left % 16 == 0)
			op_commit(m);
}

static void
op_sync(struct model *m)
{
	if (!model_settle(m))
		return;
	m->is_committing = false;
	if (wal_sync(&m->wal) == -1)
		model_fail(m);
	else
		HOLDS(m, m->wal.durable_seq == m->next_seq - 1,
		    "durable up to %" PRIu64, m->wal.durable_seq);
}

static void
op_give(struct model *m)
{
	uint64_t last = wal_ready_seq(&m->wal);

	while (m->given_count < MODEL_WINDOW && m->reader.next_seq <= last) {
		struct model_given *given = &m->given[m->given_count++];
		uint64_t seq = m->reader.next_seq;
		struct reader_event event;

		model_compare(
		    m, reader_next(&m->reader, last, &event), &event, seq);
		*given = (struct model_given){event.seq, event.end_offset};
		if (model_chance(m, 8) == 0)
			break;
	}
}

static void
op_end(struct model *m)
{
	static const enum wal_end hows[] = {
	    WAL_DELIVERED, WAL_DELIVERED, WAL_REJECTED, WAL_DROPPED};
	size_t count = m->given_count;
	enum wal_end how = hows[model_chance(m, 4)];

	if (count == 0)
		return;
	count = 1 + model_chance(m, count);
	HOLDS(m, m->given[0].seq == m->acked_seq + 1, "given are not next");
	wal_end(&m->wal, count, m->given[count - 1].end_offset, how);
	m->acked_seq += count;
	m->ends[how] += count;
	m->given_count -= count;
	memmove(
	    m->given, m->given + count, m->given_count * sizeof(m->given[0]));
	op_save(m);
}

static void
op_drain(struct model *m)
{
	for (unsigned int left = 1000; left > 0; left--) {
		op_give(m);
		op_end(m);
	}
}

static void
op_mark(struct model *m)
{
	if (!model_settle(m))
		return;
	/* An append leaves room for it. */
	if (m->is_recounted)
		m->most_bytes = model_larger(
		    m->most_bytes, wal_bytes(&m->wal) + LAYOUT_BATCH_BYTES);
	if (wal_mark(&m->wal) == -1)
		model_fail(m);
}

static void
op_prepare(struct model *m)
{
	if (model_settle(m) && wal_prepare(&m->wal) == -1)
		model_fail(m);
}

static void
op_refuse(struct model *m)
{
	wal_count_refused(&m->wal);
	m->refused++;
}

static void
op_close(struct model *m)
{
	struct wal *wal = &m->wal;
	uint64_t gathered = wal->batch_count;
	bool was_settled = wal_is_settled(wal);
	unsigned int before = power_strikes;

	if (wal_close(wal) == -1) {
		HOLDS(m, power_strikes > m->strikes, "close: %s",
		    strerror(errno));
		m->strikes = power_strikes;
		model_open(m, false);
		return;
	}
	if (power_strikes == before && was_settled) {
		m->saved_acked = m->acked_seq;
		m->saved_refused = m->durable_refused = m->refused;
		if (m->is_lazy)
			gathered = 0;
		m->written_seq = m->durable_seq = m->next_seq - 1 - gathered;
		power_cut(&m->dir, POWER_CUT_ALL_LOST, 0);
	}
	model_open(m, false);
}

/* Lets a call fail soon. */
static void
op_fault(struct model *m)
{
	static const int errors[] = {ENOSPC, ENOSPC, EDQUOT, EIO};

	power_fault = (struct power_fault){
	    .call = model_chance(m, 3) == 0 ? POWER_SYNC : POWER_WRITE,
	    .in = 1 + (unsigned int)model_chance(m, 5),
	    .is_lasting = model_chance(m, 2) == 0,
	    .error = errors[model_chance(m, 4)],
	    .is_short = model_chance(m, 2) == 0,
	};
}

static void
op_mend(struct model *m)
{
	(void)m;
	power_fault = (struct power_fault){0};
}

/* What a step may be, and how often. */
static const struct op {
	const char *name;
	void (*run)(struct model *m);
	unsigned int weight;
} ops[] = {
    {"append", op_append, 300},
    {"commit", op_commit, 100},
    {"begin", op_begin, 60},
    {"take", op_take, 60},
    {"sync", op_sync, 40},
    {"give", op_give, 180},
    {"end", op_end, 160},
    {"save", op_save, 90},
    {"mark", op_mark, 40},
    {"prepare", op_prepare, 40},
    {"refuse", op_refuse, 20},
    {"rewind", model_rewind, 20},
    {"fill", op_fill, 4},
    {"drain", op_drain, 6},
    {"crash", model_crash, 50},
    {"close", op_close, 15},
    {"fault", op_fault, 25},
    {"mend", op_mend, 40},
};

static void
step(struct model *m)
{
	unsigned int sum = 0;
	const struct op *op = ops;
	uint64_t at;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		sum += ops[i].weight;
	at = model_chance(m, sum);
	while (at >= op->weight)
		at -= op++->weight;
	(void)snprintf(m->last_op, sizeof(m->last_op), "%s", op->name);
	op->run(m);
	model_check_counts(m);
	if (m->step % 16 == 0)
		model_check_events(m);
}

static uint64_t
number_of(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value == NULL ? otherwise : strtoull(value, NULL, 0);
}

/* Limits, tight or wide, by the seed. */
static void
choose_limits(struct model *m)
{
	static const uint64_t elements[] = {3, 40, 1000, UINT64_MAX};
	static const uint64_t bytes[] = {16384, 50000, 150000, 400000};
	static const uint64_t segments[] = {LAYOUT_DATA_OFFSET + 1024, 16384};

	m->limits.max_elements = elements[model_chance(m, 4)];
	m->limits.max_bytes = bytes[model_chance(m, 4)];
	m->limits.segment_bytes = segments[model_chance(m, 2)];
	m->is_lazy = model_chance(m, 4) == 0;
}

START_TEST(test_random_steps)
{
	struct model *m = &model;
	uint64_t steps = number_of("MODEL_STEPS", STEPS);

	m->seed = number_of("MODEL_SEED", (uint64_t)_i + 1);
	m->random = m->seed;
	m->next_seq = 1;
	choose_limits(m);
	m->most_disk = model_disk_limit(m);
	model_open(m, false);
	for (m->step = 1; m->step <= steps; m->step++)
		step(m);
	power_fault = (struct power_fault){0};
	op_close(m);
	wal_abandon(&m->wal);
}
END_TEST

/* Not in the process of a test, which may not come to its end. */
static void
make_dir(void)
{
	log_dir_make(&model.dir);
}

static void
remove_dir(void)
{
	log_dir_remove(&model.dir);
}

static void
setup(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	/* What the log says to a person is not wanted thousands of times. */
	ck_assert_int_ne(fd, -1);
	ck_assert_int_ne(dup2(fd, STDERR_FILENO), -1);
	(void)close(fd);
	log_dir_clear(&model.dir);
	expected = malloc(MODEL_EVENT_BYTES);
	ck_assert_ptr_nonnull(expected);
}

static void
teardown(void)
{
	struct log_dir dir = model.dir;

	reader_fini(&model.reader);
	power_reset();
	free(model.taken);
	free(expected);
	model = (struct model){.dir = dir};
}

int
main(void)
{
	Suite *suite = suite_create("model");
	TCase *tcase = tcase_create("model");
	bool is_one = getenv("MODEL_SEED") != NULL;

	log_init("check_model", LOG_ERROR);
	tcase_add_unchecked_fixture(tcase, make_dir, remove_dir);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 0);
	tcase_add_loop_test(tcase, test_random_steps, 0, is_one ? 1 : SEEDS);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
