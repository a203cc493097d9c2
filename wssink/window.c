#include "wssink/window.h"

#include "stage/frame.h"
#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>

/* Refused events between those that are kept take a slot too. */
#define SLOTS (WINDOW_EVENTS + 2 * WINDOW_KEPT_EVENTS)

void
window_init(struct window *window, size_t keep)
{
	assert(keep <= WINDOW_KEPT_EVENTS);
	*window = (struct window){
	    .slots = mem_calloc(SLOTS, sizeof(struct window_slot)),
	    .keep = keep,
	};
	/* The longest event may be alone in the window, one more be kept. */
	buf_init(&window->bytes,
	    WINDOW_BYTES + WINDOW_KEPT_BYTES + 2 * (size_t)FRAME_MAX_BYTES);
}

void
window_fini(struct window *window)
{
	buf_fini(&window->bytes);
	free(window->slots);
	window->slots = NULL;
}

bool
window_is_empty(const struct window *window)
{
	return window->ended == window->taken;
}

bool
window_has_room(const struct window *window, size_t bytes)
{
	size_t held = buf_bytes(&window->bytes) - window->ended_bytes;
	uint64_t events = window->taken - window->ended;

	if (events >= WINDOW_EVENTS ||
	    window->taken - window->forgotten >= SLOTS)
		return false;
	return held == 0 ||
	       held + bytes <= (events < WINDOW_FEW_EVENTS ? WINDOW_BYTES
							   : WINDOW_MANY_BYTES);
}

static struct window_slot *
slot_of(const struct window *window, uint64_t number)
{
	return &window->slots[number % SLOTS];
}

/* Says whether an event that has ended is to be forgotten. */
static bool
is_too_much(const struct window *window)
{
	const struct window_slot *first =
	    slot_of(window, window->forgotten + 1);

	if (window->forgotten == window->ended)
		return false;
	/* What is still to be given out again is held. */
	if (window->forgotten == window->next)
		return false;
	return first->is_refused || window->kept > window->keep ||
	       (window->kept > 1 && window->ended_bytes > WINDOW_KEPT_BYTES) ||
	       window->ended - window->forgotten >= SLOTS - WINDOW_EVENTS;
}

/* Forgets events that have ended, but for those to be kept. */
static void
forget(struct window *window)
{
	while (is_too_much(window)) {
		const struct window_slot *first =
		    slot_of(window, ++window->forgotten);

		buf_drop(&window->bytes, first->bytes);
		window->ended_bytes -= first->bytes;
		window->next_offset -= first->bytes;
		if (!first->is_refused)
			window->kept--;
	}
}

/* Refused events end as soon as all in front of them have. */
static void
end_refused(struct window *window)
{
	while (window->ended < window->taken &&
	       slot_of(window, window->ended + 1)->is_refused) {
		window->ended++;
		if (window->next + 1 == window->ended) {
			window->next = window->ended;
			window->next_offset = window->ended_bytes;
		}
	}
	forget(window);
}

/* Takes the next number for an event. */
static void
add(struct window *window, size_t bytes, bool is_refused)
{
	assert(window->taken - window->ended < WINDOW_EVENTS);
	assert(window->taken - window->forgotten < SLOTS);
	window->taken++;
	*slot_of(window, window->taken) = (struct window_slot){
	    .bytes = (uint32_t)bytes,
	    .is_refused = is_refused,
	};
}

void
window_add(struct window *window, const uint8_t *payload, size_t bytes)
{
	int result = buf_append(&window->bytes, payload, bytes);

	assert(bytes > 0 && result == 0);
	add(window, bytes, false);
}

void
window_add_refused(struct window *window)
{
	add(window, 0, true);
	end_refused(window);
}

/* Counts refused events among those that have ended as given out, so that
 * `next` tells whether one of these is still to come. */
static void
skip_refused(struct window *window)
{
	while (window->next < window->ended &&
	       slot_of(window, window->next + 1)->is_refused)
		window->next++;
}

bool
window_next(struct window *window, const uint8_t **payload, size_t *bytes)
{
	/* Some that are given again may be free to go now. */
	if (window->next <= window->ended)
		forget(window);
	while (window->next < window->taken) {
		const struct window_slot *slot =
		    slot_of(window, ++window->next);
		size_t offset = window->next_offset;

		window->next_offset += slot->bytes;
		if (slot->is_refused)
			continue;
		*payload = buf_front(&window->bytes) + offset;
		*bytes = slot->bytes;
		skip_refused(window);
		return true;
	}
	return false;
}

void
window_end(struct window *window, uint64_t count)
{
	while (count > 0) {
		const struct window_slot *slot;

		assert(window->ended < window->next);
		slot = slot_of(window, ++window->ended);
		window->ended_bytes += slot->bytes;
		if (slot->is_refused)
			continue;
		window->kept++;
		count--;
	}
	end_refused(window);
}

void
window_refuse_first(struct window *window)
{
	struct window_slot *first = slot_of(window, window->ended + 1);

	assert(window->ended < window->taken);
	/* Its bytes go at once, and not when what is kept in front of them
	 * does: that may never happen, and many may be refused. */
	buf_cut(&window->bytes, window->ended_bytes, first->bytes);
	if (window->next > window->ended)
		window->next_offset -= first->bytes;
	*first = (struct window_slot){.is_refused = true};
	end_refused(window);
}

void
window_drop_rest(struct window *window)
{
	bool is_given = window->next > window->ended;
	size_t held = is_given ? window->next_offset : window->ended_bytes;

	buf_cut(&window->bytes, held, buf_bytes(&window->bytes) - held);
	window->taken = is_given ? window->next : window->ended;
}

uint64_t
window_drop_all(struct window *window)
{
	uint64_t given = 0;

	for (uint64_t i = window->ended + 1; i <= window->next; i++)
		given += !slot_of(window, i)->is_refused;
	/* Else some that are kept are being given out again. */
	if (window->next > window->ended)
		window_rewind(window);
	window_drop_rest(window);
	return given;
}

void
window_rewind(struct window *window)
{
	window->next = window->ended;
	window->next_offset = window->ended_bytes;
}

size_t
window_rewind_kept(struct window *window)
{
	window->next = window->forgotten;
	window->next_offset = 0;
	skip_refused(window);
	return window->kept;
}
