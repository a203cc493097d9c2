/*
 * The FIFO into which a sink writes its acks where its input is no socket. Who
 * reads them makes and opens it, maybe later, so it is looked for until it is
 * there. One process at a time writes it: acks count the events of one stream,
 * and two writers would ack what the other has not delivered.
 */
#ifndef WSSINK_FIFO_H
#define WSSINK_FIFO_H

#include "stage/chan.h"
#include "stage/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct fifo {
	const char *path; /* borrowed; NULL: none is wanted */
	struct chan chan; /* the acks out, once it is open */
	int fd;		  /* owned; -1: not open */
	int64_t next_ns;  /* the next look for it */
	int64_t odd_ns;	  /* when to say that it is missing */
};

enum fifo_status {
	FIFO_SAME,   /* nothing is new */
	FIFO_OPENED, /* `chan` can be written */
	FIFO_WRONG,  /* it is no FIFO, or another process writes it; logged */
	FIFO_FAILED, /* it cannot be opened; logged */
};

/* Begins to look for the FIFO at `path`, borrowed; NULL: for none. */
void fifo_init(struct fifo *fifo, const char *path);

/* Closes it. */
void fifo_fini(struct fifo *fifo);

/* Says whether one is wanted and not open yet. */
bool fifo_is_awaited(const struct fifo *fifo);

/* Looks for it, if it is time to. */
enum fifo_status fifo_look(struct fifo *fifo);

/* States what it waits for, once it is open. */
void fifo_watch(struct fifo *fifo, struct loop *loop);

/* Writes what poll has room for. Returns as chan_turn. */
int fifo_turn(struct fifo *fifo, const struct loop *loop);

#endif
