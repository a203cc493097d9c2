#include "walproc/flight.h"

#include "stage/mem.h"

#include <stdlib.h>

#define FLIGHT_FIRST_ROOM 32

void
flight_init(struct flight *flight, size_t window)
{
	*flight = (struct flight){.window = window};
}

void
flight_fini(struct flight *flight)
{
	free(flight->ring);
	flight_init(flight, flight->window);
}

bool
flight_has_room(const struct flight *flight)
{
	return flight->sent - flight->acked < flight->window;
}

static struct flight_event *
entry(const struct flight *flight, size_t index)
{
	return &flight->ring[(flight->first + index) & (flight->room - 1)];
}

/* Doubles the ring, with its entries at the front of the new one. */
static void
grow(struct flight *flight)
{
	size_t room = flight->room == 0 ? FLIGHT_FIRST_ROOM : 2 * flight->room;
	struct flight_event *ring = mem_calloc(room, sizeof(*ring));

	for (size_t i = 0; i < flight->count; i++)
		ring[i] = *entry(flight, i);
	free(flight->ring);
	flight->ring = ring;
	flight->room = room;
	flight->first = 0;
}

void
flight_add(struct flight *flight, const struct flight_event *event)
{
	if (flight->count == flight->room)
		grow(flight);
	*entry(flight, flight->count) = *event;
	flight->count++;
	if (event->state != FLIGHT_DAMAGED)
		flight->sent++;
}

int
flight_ack(struct flight *flight, uint64_t n, const char **why)
{
	if (n > flight->sent) {
		*why = "acked more events than were sent";
		return -1;
	}
	if (n < flight->told) {
		*why = "the count of acked events fell";
		return -1;
	}
	flight->told = n;
	/* A reject may have ended more than was acked so far. */
	if (n > flight->acked)
		flight->acked = n;
	return 0;
}

struct flight_event *
flight_find(struct flight *flight, uint64_t n, const char **why)
{
	uint64_t number = flight->left;

	*why = "rejected an event that was acked, or never sent";
	if (n <= flight->acked)
		return NULL;
	for (size_t i = 0; i < flight->count; i++) {
		struct flight_event *event = entry(flight, i);

		if (event->state == FLIGHT_DAMAGED || ++number != n)
			continue;
		if (event->state == FLIGHT_SENT)
			return event;
		*why = "rejected an event twice";
		return NULL;
	}
	return NULL;
}

/* The stream's number of the oldest is one behind those that have left; only a
 * reject can end it before an ack does. */
bool
flight_has_ended(const struct flight *flight)
{
	const struct flight_event *oldest;

	if (flight->count == 0)
		return false;
	oldest = entry(flight, 0);
	return oldest->state != FLIGHT_SENT ||
	       flight->left + 1 <= flight->acked;
}

bool
flight_take_acked(struct flight *flight, struct flight_event *event)
{
	size_t most = flight->acked - flight->left, n = 0;
	const struct flight_event *last = NULL;

	if (most > flight->count)
		most = flight->count;
	while (n < most && entry(flight, n)->state == FLIGHT_SENT)
		last = entry(flight, n++);
	if (last == NULL)
		return false;
	*event = *entry(flight, 0);
	event->count = last->seq + 1 - event->seq;
	event->end_offset = last->end_offset;
	flight->left += n;
	flight->first = (flight->first + n) & (flight->room - 1);
	flight->count -= n;
	return true;
}

bool
flight_take_ended(struct flight *flight, struct flight_event *event)
{
	if (!flight_has_ended(flight))
		return false;
	*event = *entry(flight, 0);
	if (event->state != FLIGHT_DAMAGED) {
		flight->left++;
		if (flight->left > flight->acked)
			flight->acked = flight->left;
	}
	flight->first = (flight->first + 1) & (flight->room - 1);
	flight->count--;
	return true;
}
