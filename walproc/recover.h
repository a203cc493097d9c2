/*
 * The start-up scan: which segments a directory has, and how far the last of
 * them can be trusted.
 *
 * A segment is made only after all before it was synced, so only the last one
 * can have a torn tail; of the others nothing but the header is read here,
 * which bounds the time of a start. In the last one batches are followed from
 * header to header. At the first bad one, with all up to L before it, L+1 had
 * been durable if the cursor says so or a sound header further on does, whose
 * durable_seq is above L: then it is damage, the scan goes on behind it, and
 * who reads the events quarantines what is missing. Without such proof it is
 * what was being written when the power went: the log ends at L. Sectors that
 * cannot be read are no torn tail either: what is sound behind them counts.
 *
 * A file that bears another's name gets its own back. One that is not of this
 * log, or is there a second time, goes to the quarantine; so does, with
 * recover_clear, one neither of whose headers is sound, and who reads finds its
 * events missing. Where that was the last, how many it had is at least what the
 * cursor knows, else an estimate from what is left of it.
 */
#ifndef WALPROC_RECOVER_H
#define WALPROC_RECOVER_H

#include "walproc/catalog.h"

enum recover_status {
	RECOVER_OK,
	RECOVER_NEWER, /* a segment of a major version that is not ours;
			* nothing was touched */
	RECOVER_ERROR, /* errno is set; already logged, but for ENOENT where
			* there is a listener: a segment went meanwhile */
};

/* Hears of each segment file that is not where or what it should be. */
struct recover_listener {
	void (*tell)(void *context, uint64_t name_seq, const char *what);
	void *context; /* borrowed */
};

struct recovered {
	uint8_t log_id[LAYOUT_LOG_ID_BYTES]; /* of the segments */
	bool has_log_id;
	bool is_foreign;     /* the cursor given is of another log */
	bool has_bad;	     /* there are files for recover_clear */
	uint64_t first_seq;  /* of the oldest segment, lost or not; or 1 */
	uint64_t next_seq;   /* one behind the last event in the log */
	uint64_t proven_seq; /* highest sequence number proven durable */
	uint64_t torn_bytes; /* of the torn tail, behind the last batch */
};

/*
 * Fills the empty `catalog` with the segments of its directory. `cursor` is the
 * log's, NULL if it is lost. With a `listener` it only looks: it changes
 * nothing, and tells instead; files that it would move are left out. Without
 * one it acts and logs.
 */
enum recover_status recover_scan(struct catalog *catalog,
    const struct layout_cursor *cursor, const struct recover_listener *listener,
    struct recovered *found);

/*
 * Moves the files of the directory neither of whose headers is sound to the
 * quarantine. To be done when the cursor has proven_seq durably: the next start
 * no longer sees what was lost. Returns 0, or -1 with errno set and logged.
 */
int recover_clear(int dir_fd);

#endif
