/*
 * The flight: the events that were given to the sink and have not ended, in
 * order. It turns counts of a stream (ack N, reject N) into events of the log.
 * Pure bookkeeping: no descriptor, no event bytes.
 */
#ifndef WALPROC_FLIGHT_H
#define WALPROC_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flight_state {
	FLIGHT_SENT,	 /* counted in the stream, not answered */
	FLIGHT_REJECTED, /* counted in the stream, can never be delivered */
	FLIGHT_DAMAGED,	 /* never sent, not counted in the stream */
};

struct flight_event {
	uint64_t seq;	     /* of the first event that this entry stands for */
	uint64_t count;	     /* 1, or more where damaged */
	uint64_t end_offset; /* where it ends in the log: wal.h */
	enum flight_state state;
};

struct flight {
	struct flight_event *ring; /* owned */
	size_t room;		   /* entries allocated: a power of two, or 0 */
	size_t first;		   /* index of the oldest */
	size_t count;		   /* entries in use */
	uint64_t sent;		   /* events sent in this stream */
	uint64_t told;		   /* the last ack that came */
	uint64_t acked;		   /* of these: acked, or rejected in front */
	uint64_t left;		   /* of these: no longer in the ring */
	size_t window;		   /* sent and not answered, at most */
};

/* Makes an empty flight of at most `window` events at a time. */
void flight_init(struct flight *flight, size_t window);

/* Frees the memory. */
void flight_fini(struct flight *flight);

/* Says whether the window allows one more. */
bool flight_has_room(const struct flight *flight);

/* Adds one entry behind the others; SENT ones count in the stream. */
void flight_add(struct flight *flight, const struct flight_event *event);

/*
 * Takes over an ack of the first `n` events of the stream. Returns 0, or -1
 * with *why set and nothing changed: n fell, or is above what was sent.
 */
int flight_ack(struct flight *flight, uint64_t n, const char **why);

/*
 * Finds event `n` of the stream, to be rejected. Returns it, still in the
 * flight and FLIGHT_SENT, or NULL with *why set: n was acked or rejected
 * already, or is above what was sent.
 */
struct flight_event *flight_find(
    struct flight *flight, uint64_t n, const char **why);

/*
 * Takes the oldest entry off if it has ended: acked, or not to be acked at
 * all. Returns true with *event set; a SENT one was delivered.
 */
bool flight_take_ended(struct flight *flight, struct flight_event *event);

/*
 * Takes off at once all of the oldest that were sent and acked, up to the first
 * that was not. Returns true with *event set: its seq is the first's, its count
 * goes to the last, numbers that are not in the flight included, and it ends
 * where that does; or false if there are none.
 */
bool flight_take_acked(struct flight *flight, struct flight_event *event);

/* Says whether flight_take_ended would give one. */
bool flight_has_ended(const struct flight *flight);

#endif
