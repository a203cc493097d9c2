/*
 * The control channel: packets of ctlmsg.h on a SOCK_SEQPACKET socket, with
 * descriptors along where a message has one (unix(7), SCM_RIGHTS). Nothing here
 * waits. A stage finds its end on CONTROL_FD, where a supervisor started it;
 * without one it runs on its own, as in a shell.
 */
#ifndef STAGE_CONTROL_H
#define STAGE_CONTROL_H

#include "stage/ctlmsg.h"
#include "stage/loop.h"

#include <stdbool.h>

/* Where a stage finds its end. */
#define CONTROL_FD 3

/*
 * Sends one message on `fd`, with a copy of the descriptor `passed_fd` unless
 * that is -1. The body of `msg` is borrowed. Returns 0, or -1 with errno set
 * and nothing sent: EAGAIN, the other end has not read for long; EPIPE or
 * ECONNRESET, it is gone; EMSGSIZE, the message is too long.
 */
int control_send(int fd, const struct ctlmsg *msg, int passed_fd);

/* The same of a message that is nothing but its kind. */
int control_send_kind(int fd, enum ctlmsg_kind kind, int passed_fd);

enum control_status {
	CONTROL_GOT,	 /* a message */
	CONTROL_NOTHING, /* none is there */
	CONTROL_ENDED,	 /* the other end is closed, or the socket failed */
};

struct control_msg {
	struct ctlmsg what; /* its body is the caller's */
	int fd; /* owned by the caller, CLOEXEC; -1: none came along */
};

/*
 * Takes the next message from `fd`. CONTROL_GOT sets *msg; one that cannot be
 * read counts as CTLMSG_UNKNOWN. An attach always has its descriptor: where one
 * came for which this process had no room, that is logged, and CONTROL_ENDED.
 */
enum control_status control_recv(int fd, struct control_msg *msg);

/* A stage's end. */
struct control {
	int fd;	      /* CONTROL_FD; -1: there is no supervisor */
	bool is_lost; /* there was one, and it is gone: end */
	size_t slot;  /* this turn's in the loop, or 0 */
};

/*
 * Takes the stage's end: CONTROL_FD, if that is a socket of the kind on which
 * the first packet is a CTLMSG_HELLO. Else that descriptor, whatever it is, is
 * left as it is. Call it first, before anything else could take the number.
 */
void control_open(struct control *control);

/* Says whether there is, or was, a supervisor. */
bool control_is_open(const struct control *control);

/* States that messages are waited for. */
void control_watch(struct control *control, struct loop *loop);

/*
 * Takes the next message, if poll has told of any. CONTROL_GOT: *msg is one of
 * those to a stage, or CTLMSG_UNKNOWN; only an attach has a descriptor, and
 * only CTLMSG_STREAMS a body. At CONTROL_ENDED is_lost is set.
 */
enum control_status control_next(
    struct control *control, const struct loop *loop, struct control_msg *msg);

/* Says that the stage has begun its work. Nothing if there is no supervisor. */
void control_ready(struct control *control);

/*
 * Says that the neighbour from which input comes (`is_in`), or that to which
 * output goes, has broken the protocol; `name` is which of them, or "". It will
 * be ended, and started anew. Nothing if there is no supervisor.
 */
void control_fault(struct control *control, bool is_in, const char *name);

/* Sends a report, which is deleted. Nothing is sent if there is no supervisor,
 * or it does not read. */
void control_report(struct control *control, cJSON *report);

#endif
