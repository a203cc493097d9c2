#include "wssink/window.h"

#include "stage/frame.h"
#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>

void
window_init(struct window *window)
{
	*window = (struct window){
	    .sizes = mem_calloc(WINDOW_EVENTS, sizeof(uint32_t)),
	};
	buf_init(&window->bytes, WINDOW_BYTES + FRAME_MAX_BYTES);
}

void
window_fini(struct window *window)
{
	buf_fini(&window->bytes);
	free(window->sizes);
	window->sizes = NULL;
}

bool
window_is_empty(const struct window *window)
{
	return window->ended == window->taken;
}

bool
window_has_room(const struct window *window, size_t bytes)
{
	if (window->taken - window->ended >= WINDOW_EVENTS)
		return false;
	return buf_bytes(&window->bytes) == 0 ||
	       buf_bytes(&window->bytes) + bytes <= WINDOW_BYTES;
}

/* The size of event `number`, counted from 1. */
static uint32_t *
size_of(struct window *window, uint64_t number)
{
	return &window->sizes[number % WINDOW_EVENTS];
}

/* Refused events end as soon as all in front of them have. */
static void
end_refused(struct window *window)
{
	while (window->ended < window->taken &&
	       *size_of(window, window->ended + 1) == 0)
		window->ended++;
	if (window->next < window->ended)
		window->next = window->ended;
}

void
window_add(struct window *window, const uint8_t *payload, size_t bytes)
{
	int result = buf_append(&window->bytes, payload, bytes);

	assert(bytes > 0 && result == 0);
	assert(window->taken - window->ended < WINDOW_EVENTS);
	window->taken++;
	*size_of(window, window->taken) = (uint32_t)bytes;
}

void
window_add_refused(struct window *window)
{
	assert(window->taken - window->ended < WINDOW_EVENTS);
	window->taken++;
	*size_of(window, window->taken) = 0;
	end_refused(window);
}

bool
window_next(struct window *window, const uint8_t **payload, size_t *bytes)
{
	size_t n = 0;

	while (window->next < window->taken && n == 0)
		n = *size_of(window, ++window->next);
	if (n == 0)
		return false;
	*payload = buf_front(&window->bytes) + window->next_offset;
	*bytes = n;
	window->next_offset += n;
	return true;
}

void
window_end(struct window *window, uint64_t count)
{
	while (count > 0) {
		size_t n;

		assert(window->ended < window->next);
		n = *size_of(window, ++window->ended);
		if (n == 0)
			continue;
		buf_drop(&window->bytes, n);
		window->next_offset -= n;
		count--;
	}
	end_refused(window);
}

void
window_rewind(struct window *window)
{
	window->next = window->ended;
	window->next_offset = 0;
}
