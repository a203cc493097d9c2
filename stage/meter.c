#include "stage/meter.h"

#include "stage/loop.h"

#include <string.h>

#define SLOTS (METER_SECONDS + 1)

/* Makes the second of `now_ns` the newest; those it passes had no event. */
static void
advance(struct meter *meter, int64_t now_ns)
{
	int64_t second = now_ns / LOOP_NS_PER_S;

	if (second - meter->second >= SLOTS) {
		memset(meter->slots, 0, sizeof(meter->slots));
		meter->second = second;
	}
	while (meter->second < second) {
		meter->second++;
		meter->slots[meter->second % SLOTS] = 0;
	}
}

void
meter_add(struct meter *meter, uint64_t count, int64_t now_ns)
{
	advance(meter, now_ns);
	if (meter->first == 0)
		meter->first = meter->second;
	meter->slots[meter->second % SLOTS] += count;
}

double
meter_rate(struct meter *meter, int64_t now_ns)
{
	int64_t seconds;
	uint64_t sum = 0;

	advance(meter, now_ns);
	for (int i = 0; i < SLOTS; i++)
		sum += meter->slots[i];
	/* The newest second is not over. */
	sum -= meter->slots[meter->second % SLOTS];
	seconds = meter->second - meter->first;
	if (seconds > METER_SECONDS)
		seconds = METER_SECONDS;
	return seconds < 1 ? 0 : (double)sum / (double)seconds;
}
