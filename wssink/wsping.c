#include "wssink/wsping.h"

#include "stage/loop.h"

#include <assert.h>

/* A second more for each MiB in front of a ping, as far as these bytes may
 * still be on their way: no more than this many are. */
#define NS_PER_BYTE (LOOP_NS_PER_S >> 20)
#define UNREAD_BYTES ((uint64_t)16 << 20)

void
wsping_init(struct wsping *pings, int64_t now_ns)
{
	*pings = (struct wsping){.pinged_ns = now_ns};
}

bool
wsping_has_room(const struct wsping *pings)
{
	return pings->pinged - pings->ponged < WSPING_MAX;
}

bool
wsping_is_due(const struct wsping *pings, uint64_t messages, bool confirms,
    int64_t interval_ns, int64_t now_ns)
{
	if (!wsping_has_room(pings))
		return false;
	if (confirms && messages > pings->behind)
		return true;
	return now_ns >= wsping_keepalive_ns(pings, interval_ns);
}

uint64_t
wsping_next_number(const struct wsping *pings)
{
	return pings->pinged + 1;
}

uint64_t
wsping_queue(
    struct wsping *pings, uint64_t messages, uint64_t end_bytes, int64_t now_ns)
{
	assert(wsping_has_room(pings));
	pings->pinged++;
	pings->behind = messages;
	pings->pinged_ns = now_ns;
	pings->entries[pings->pinged % WSPING_MAX] = (struct wsping_entry){
	    .messages = messages,
	    .end_bytes = end_bytes,
	};
	return pings->pinged;
}

void
wsping_written(struct wsping *pings, uint64_t bytes, int64_t now_ns)
{
	for (uint64_t i = pings->ponged + 1; i <= pings->pinged; i++) {
		struct wsping_entry *entry = &pings->entries[i % WSPING_MAX];

		if (entry->written_ns == 0 && entry->end_bytes <= bytes)
			entry->written_ns = now_ns;
	}
}

bool
wsping_answer(
    struct wsping *pings, uint64_t number, int64_t now_ns, uint64_t *messages)
{
	const struct wsping_entry *entry;

	if (number <= pings->ponged || number > pings->pinged)
		return false;
	entry = &pings->entries[number % WSPING_MAX];
	pings->ponged = number;
	pings->answered_bytes = entry->end_bytes;
	pings->heard_ns = now_ns;
	*messages = entry->messages;
	return true;
}

void
wsping_heard(struct wsping *pings, int64_t now_ns)
{
	pings->heard_ns = now_ns;
}

/* How much of the connection up to `end_bytes` the server may not have read. */
static uint64_t
unread_bytes(const struct wsping *pings, uint64_t end_bytes)
{
	uint64_t unread = end_bytes - pings->answered_bytes;

	return unread < UNREAD_BYTES ? unread : UNREAD_BYTES;
}

int64_t
wsping_deadline_ns(const struct wsping *pings, int64_t timeout_ns)
{
	const struct wsping_entry *oldest =
	    &pings->entries[(pings->ponged + 1) % WSPING_MAX];
	int64_t from_ns = oldest->written_ns;

	if (pings->ponged == pings->pinged || oldest->written_ns == 0)
		return INT64_MAX;
	if (pings->heard_ns > from_ns)
		from_ns = pings->heard_ns;
	return from_ns + timeout_ns +
	       (int64_t)unread_bytes(pings, oldest->end_bytes) * NS_PER_BYTE;
}

uint64_t
wsping_silence_ms(
    const struct wsping *pings, uint64_t queued_bytes, uint64_t timeout_ms)
{
	return timeout_ms + (unread_bytes(pings, queued_bytes) >> 20) * 1000;
}

int64_t
wsping_keepalive_ns(const struct wsping *pings, int64_t interval_ns)
{
	if (pings->pinged != pings->ponged)
		return INT64_MAX;
	return pings->pinged_ns + interval_ns;
}
