/*
 * A model of the log in memory, and the log beside it: what must be true of it
 * after each step, and after the process crashed or the power was cut. A
 * failure ends the test with the seed and the step that repeat it.
 */
#ifndef T_MODEL_H
#define T_MODEL_H

#include "t/log_dir.h"
#include "t/power.h"
#include "walproc/wal.h"

#include <stdbool.h>

/* Events given to the sink at a time. */
#define MODEL_WINDOW 20
/* Room for the largest event. */
#define MODEL_EVENT_BYTES ((size_t)65536)

/* An event that was appended; its bytes follow from these. */
struct model_taken {
	uint64_t id;
	size_t bytes;
};

/* An event that was given to the sink. */
struct model_given {
	uint64_t seq;
	uint64_t end_offset;
};

/* The log, and what must be true of it. */
struct model {
	struct log_dir dir;
	struct wal_limits limits;
	bool is_lazy;
	uint64_t seed;
	unsigned int step;
	uint64_t random;
	char last_op[32];

	struct wal wal;
	struct reader reader; /* the sink's */
	struct model_given given[MODEL_WINDOW];
	size_t given_count;

	struct model_taken *taken; /* by sequence number */
	size_t room;
	uint64_t next_id;
	uint64_t next_seq;
	uint64_t written_seq; /* a crash does not lose up to here */
	uint64_t durable_seq; /* and a power cut not up to here */
	uint64_t acked_seq;
	uint64_t ends[4]; /* by enum wal_end */
	uint64_t refused;
	uint64_t saved_acked; /* at least this is in the cursor file */
	uint64_t saved_refused;
	uint64_t durable_refused;
	uint64_t begun_refused; /* counted when the commit began */
	bool is_committing;	/* begun, and its end not taken */
	unsigned int strikes;	/* that were answered */
	/* Above the limits where a cursor that was lost, or a batch ended in
	 * part, counts again; never by an append. */
	uint64_t most_elements;
	uint64_t most_bytes;
	uint64_t most_disk;
	bool is_recounted; /* since the last append */
};

/* Ends the test with the way to repeat it. */
void model_end_test(const struct model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#define HOLDS(m, condition, ...) \
	do { \
		if (!(condition)) \
			model_end_test(m, __VA_ARGS__); \
	} while (0)

/* Returns a number from 0 to of - 1 by chance. */
uint64_t model_chance(struct model *m, uint64_t of);

/* Returns the larger of two. */
uint64_t model_larger(uint64_t a, uint64_t b);

/* Writes the bytes of an event. */
void model_fill(const struct model_taken *taken, uint8_t *out);

/* Holds what a reader gave against the event `seq`. */
void model_compare(const struct model *m, enum reader_status status,
    const struct reader_event *event, uint64_t seq);

/* Reads all that is ready and not ended, with a reader of its own. */
void model_check_events(struct model *m);

/* What must hold after each step. */
void model_check_counts(struct model *m);

/* What the files may take. */
uint64_t model_disk_limit(const struct model *m);

/* Begins to give events to the sink anew. */
void model_rewind(struct model *m);

/* Opens the log. A call that is to fail may fail while that goes on: then the
 * process would be started again, or the power be cut before that. `is_cut`
 * says that the power was cut. */
void model_open(struct model *m, bool is_cut);

/* The process ends without a word; then the power may go too. */
void model_crash(struct model *m);

/* After a call that failed for good the process ends; after a full disk it goes
 * on. Nothing fails of itself. */
void model_fail(struct model *m);

/* After a full disk, as what is blocked does. Says whether the log takes
 * events. */
bool model_settle(struct model *m);

#endif
