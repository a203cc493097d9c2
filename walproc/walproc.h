/*
 * The stage between source and sink: takes events in, makes them durable, acks
 * them, gives them to the sink, and ends them when the sink has acked them.
 * One turn takes all that is ready, appends it, and begins one sync for all of
 * it; the next turns gather more meanwhile, and the one that finds the sync
 * over acks what it made durable and begins the next.
 */
#ifndef WALPROC_WALPROC_H
#define WALPROC_WALPROC_H

#include "stage/chan.h"
#include "stage/exitcode.h"
#include "stage/log.h"
#include "walproc/dead.h"
#include "walproc/patch.h"
#include "walproc/report.h"
#include "walproc/shed.h"
#include "walproc/streams.h"
#include "walproc/wal.h"

/* What to do with an event that a limit has no room for. */
enum walproc_on_full {
	WALPROC_PAUSE, /* take none until there is room */
	WALPROC_DROP_OLDEST,
	WALPROC_DROP_NEWEST,
};

struct walproc_options {
	struct wal_limits limits; /* what the log may hold */
	size_t read_count;	  /* events given and not acked, at most */
	size_t max_event_bytes;	  /* as it came */
	enum walproc_on_full on_full;
	int64_t sync_ns;	   /* how long what is acked may be not durable;
				    * 0: never so; LOOP_NEVER: any time */
	int64_t max_age_ns;	   /* drop older events; LOOP_NEVER: none */
	int64_t drain_timeout_ns;  /* after the end of input; LOOP_NEVER */
	enum framing framing;	   /* of the output; FRAMING_AUTO */
	int acks_fd;		   /* FIFO with the sink's acks, borrowed; -1 */
	bool acks_none;		   /* written is delivered */
	const struct patch *patch; /* borrowed */
	struct control control;	   /* the supervisor's, if there is one */
};

enum walproc_state {
	WALPROC_RUNNING,
	WALPROC_DRAINING, /* the input has ended, for good */
	WALPROC_STOPPING, /* told to stop: what is here is made safe */
	WALPROC_DONE,
};

/* Whether events are taken in, and if not, why. */
enum walproc_block {
	WALPROC_TAKING,	   /* nothing stops the intake */
	WALPROC_FULL_LOG,  /* a limit is reached */
	WALPROC_FULL_DISK, /* a write found no room */
};

struct walproc {
	struct walproc_options options; /* as given */
	enum walproc_state state;	/* of the run's life */
	enum walproc_block block;	/* of the intake */
	enum exitcode exitcode;		/* what to return when done */
	struct loop loop;		/* the one place to wait */
	struct wal wal;			/* the log */
	struct shed shed;		/* what is given up by choice */
	struct dead dead;		/* the dead letters */
	struct streams streams;		/* from sources, and to sinks */
	struct report report;		/* what the supervisor is told */
	struct buf patched;		/* the event at hand, patched */
	char log_id[2 * LAYOUT_LOG_ID_BYTES + 1]; /* in hexadecimal */

	uint64_t taken;		/* events of all inlets (inlet.h) */
	uint64_t committing;	/* of these: acked when the sync is over */
	bool is_committing;	/* a sync is on its way */
	uint64_t taken_acked;	/* of these: acked to the source */
	uint64_t refused;	/* of these: in the dead letters */
	uint64_t refused_waits; /* of these: not durable, nor counted in the
				 * log's cursor yet */
	size_t wanted_bytes;	/* of the event that a full log had no room
				 * for; 0: of none */
	bool is_behind;		/* whole events are left for the next turn */
	bool has_read;		/* bytes came in this turn */
	bool has_failed;	/* the log: nothing more is written to it */
	int64_t deadline_ns;	/* of draining or stopping; or LOOP_NEVER */
	int64_t retry_ns;	/* when to try a full disk again */
	int64_t sync_due_ns;	/* of what is written only; or LOOP_NEVER */

	bool block_is_told;	       /* the log says that the intake paused */
	struct log_limit block_limit;  /* lines about that */
	struct log_limit refuse_limit; /* about bad input */
	struct log_limit reject_limit; /* about what the sink rejects */
	struct log_limit damage_limit; /* about damaged events */
};

/*
 * Opens the log in the directory `dir_fd`, borrowed, takes fd 0 and fd 1 as
 * source and sink (under a supervisor: if they are sockets), and tells the
 * supervisor, if there is one, that it is ready. Returns EXITCODE_DONE, or what
 * to exit with and nothing open; that is logged.
 */
enum exitcode walproc_open(
    struct walproc *walproc, int dir_fd, const struct walproc_options *options);

/*
 * Runs until the input has ended and all is delivered, or a signal says stop,
 * or a peer or the disk fails. Under a supervisor a neighbour that leaves ends
 * nothing: another is waited for (streams.h). Returns what to exit with.
 */
enum exitcode walproc_run(struct walproc *walproc);

/* Closes the log cleanly, unless the run failed on it, and frees all. Returns
 * `exitcode`, or EXITCODE_AGAIN if closing failed. */
enum exitcode walproc_close(struct walproc *walproc, enum exitcode exitcode);

#endif
