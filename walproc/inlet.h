/*
 * An inlet: what comes from one source, and what it is told. Under a supervisor
 * sources leave and others come in their place: one that left has its stream
 * read to the end before the next one's begins, since nobody sends that again.
 * There is an inlet for each source that the supervisor has named; without a
 * supervisor there is one, without a name, and one stream.
 */
#ifndef WALPROC_INLET_H
#define WALPROC_INLET_H

#include "stage/chan.h"
#include "stage/ctlmsg.h"
#include "walproc/dead.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct walproc;

/* Sources that may wait for the streams before theirs to be read to the end:
 * they leave again, one after the other, where the intake is stopped. */
#define INLET_WAITING 16

/* "source" and a name. */
#define INLET_TITLE_BYTES (CTLMSG_NAME_BYTES + 8)

struct inlet_source {
	int fd;	      /* owned */
	bool is_told; /* that its breaker is open */
};

struct inlet {
	char name[CTLMSG_NAME_BYTES + 1]; /* "": it has none */
	char title[INLET_TITLE_BYTES];	  /* what the log calls the source */
	struct chan chan;		  /* events in, answers out */
	int fd; /* of the stream; -1: none came yet. Under a supervisor it is
		 * owned */
	struct inlet_source waiting[INLET_WAITING]; /* in order */
	size_t waiting_count;			    /* of them */
	bool is_leaving; /* no source of that name will come any more */
	uint64_t left;	 /* of those that are leaving: in which order */
	bool is_missed;	 /* that it left is logged */

	uint64_t taken;	     /* events that are in the log or the dead letters,
			      * or were dropped */
	uint64_t committing; /* of these: acked when the sync is over */
	uint64_t acked;	     /* of these: acked to the source */
	uint64_t before;     /* of those taken: of streams before this one */
	struct dead_part part; /* the letter of a line that is too long */
	bool is_skipping;      /* inside such a line */
	bool is_behind;	       /* whole events are left for the next turn */
	bool is_over; /* the stream has ended, and all of it is taken */
};

/* Makes one without a stream; the caller gives it to inlet_free. */
struct inlet *inlet_new(const char *name);

/* Closes what it has, its stream too if it has a name, and frees it. */
void inlet_free(struct inlet *inlet);

/* Takes over the descriptor of the next source, a socket. */
void inlet_add(struct inlet *inlet, int fd);

/* Says whether a source is there. */
bool inlet_has_source(const struct inlet *inlet);

/* Says whether it has nothing more to give, and will not have. */
bool inlet_is_done(const struct inlet *inlet);

/* Says whether no source of that name will come any more, and that which was
 * there has been told of all that it gave: it can be freed. */
bool inlet_is_gone(const struct inlet *inlet);

/* Returns how many descriptors it holds. */
size_t inlet_fds(const struct inlet *inlet);

/* Says whether all its sources have left, and have sent nothing that is not
 * taken. */
bool inlet_is_empty(const struct inlet *inlet);

/*
 * Puts the next source in the place of one that has left and whose events are
 * all taken, and tells those that wait when the intake is stopped. Returns 0,
 * also if there is nothing to do, or -1; logged.
 */
int inlet_change(struct walproc *walproc, struct inlet *inlet);

#endif
