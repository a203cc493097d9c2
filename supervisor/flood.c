#include "supervisor/flood.h"

#include "stage/loop.h"

#define LINE_NS (LOOP_NS_PER_S / FLOOD_RATE)

bool
flood_passes(struct flood *flood, int64_t now_ns)
{
	/* How far from full it may be for a line to pass. */
	int64_t room_ns = (FLOOD_BURST - 1) * LINE_NS;

	if (flood->full_ns < now_ns)
		flood->full_ns = now_ns;
	if (flood->is_shut)
		room_ns = (FLOOD_BURST - FLOOD_RATE) * LINE_NS;
	flood->is_shut = flood->full_ns - now_ns > room_ns;
	if (flood->is_shut) {
		flood->held++;
		return false;
	}
	flood->full_ns += LINE_NS;
	return true;
}
