#include "wssink/pace.h"

#include "stage/loop.h"

/* For how long time that was not used is kept. */
#define KEPT_NS (LOOP_NS_PER_S / 10)

/* Between two events at an even pace; rounded up, so that the rate is never
 * passed. */
static int64_t
step_ns(const struct pace *pace)
{
	int64_t rate = (int64_t)pace->rate;

	return (LOOP_NS_PER_S + rate - 1) / rate;
}

/* How far ahead of the even pace an event may leave. */
static int64_t
ahead_ns(const struct pace *pace)
{
	int64_t step = step_ns(pace);

	return step < KEPT_NS ? KEPT_NS - step : 0;
}

void
pace_init(struct pace *pace, uint64_t rate)
{
	*pace = (struct pace){.rate = rate};
}

bool
pace_is_due(const struct pace *pace, int64_t now_ns)
{
	return pace->rate == 0 || pace->due_ns - ahead_ns(pace) <= now_ns;
}

int64_t
pace_wake_ns(const struct pace *pace)
{
	return pace->due_ns - ahead_ns(pace) / 2;
}

void
pace_take(struct pace *pace, int64_t now_ns)
{
	if (pace->rate == 0)
		return;
	if (pace->due_ns < now_ns)
		pace->due_ns = now_ns;
	pace->due_ns += step_ns(pace);
}
