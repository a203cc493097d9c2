/*
 * The start-up scan: which segments a directory has, and how far the last of
 * them can be trusted. It reads, and changes nothing but zeros behind the end.
 *
 * A segment is made only after all before it was synced, so only the last one
 * can have a torn tail; of the others no byte is read here, which bounds the
 * time of a start. In the last one batches are followed from header to header.
 * At the first bad one, with all up to L before it, a sound header further on
 * whose durable_seq is above L proves that L+1 had been durable: then it is
 * damage, the scan goes on behind it, and who reads the events quarantines
 * what is missing. Without such proof it is what was being written when the
 * power went: the log ends at L.
 */
#ifndef WALPROC_RECOVER_H
#define WALPROC_RECOVER_H

#include "walproc/catalog.h"

enum recover_status {
	RECOVER_OK,
	RECOVER_NEWER, /* a segment of a major version that is not ours */
	RECOVER_ERROR, /* errno is set; already logged */
};

struct recovered {
	uint8_t log_id[LAYOUT_LOG_ID_BYTES]; /* of the newest sound segment */
	bool has_log_id;
	uint64_t next_seq;   /* one behind the last event in the log */
	uint64_t proven_seq; /* highest sequence number proven durable */
};

/*
 * Fills the empty `catalog` with the segments of its directory. `acked_seq` is
 * the cursor's, or 0. A file neither of whose headers is sound is moved to
 * quarantine/; who reads finds its events missing. Where it was the last, how
 * many it had is an estimate from what is left of it.
 */
enum recover_status recover_scan(
    struct catalog *catalog, uint64_t acked_seq, struct recovered *found);

#endif
