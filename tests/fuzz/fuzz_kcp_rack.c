/* The body of a report: what is accepted keeps the rules, and says the same when it is written and read again. */
#include "kcp/kcp_rack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds)
{
	if (!holds)
		abort();
}

static void check_list(const struct kcp_range *ranges, unsigned count, uint64_t end)
{
	for (unsigned i = 0; i < count; i++) {
		check(ranges[i].first < ranges[i].end && ranges[i].end <= end);
		check(i == 0 || ranges[i].end < ranges[i - 1].first);
		end = ranges[i].first;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t body[KCP_RACK_BODY_MAX_BYTES];
	struct kcp_rack rack, again;

	if (!kcp_rack_read(data, len, &rack))
		return 0;
	check(rack.received_count >= 1 && rack.received_count <= KCP_RACK_RANGES_MAX);
	check(rack.rebuilt_count <= KCP_RACK_RANGES_MAX);
	check(rack.received[0].end == rack.largest + 1 && rack.ce <= KCP_RACK_CE_MASK);
	check_list(rack.received, rack.received_count, rack.largest + 1);
	check_list(rack.rebuilt, rack.rebuilt_count, rack.largest + 1);
	size_t written = kcp_rack_write(&rack, body);
	check(written <= len && written <= sizeof(body));
	check(kcp_rack_read(body, written, &again));
	check(again.largest == rack.largest && again.delay == rack.delay && again.ce == rack.ce);
	check(again.received_count == rack.received_count);
	check(memcmp(again.received, rack.received,
		      rack.received_count * sizeof(rack.received[0])) == 0);
	check(again.rebuilt_count == rack.rebuilt_count);
	check(memcmp(again.rebuilt, rack.rebuilt, rack.rebuilt_count * sizeof(rack.rebuilt[0])) ==
		0);
	return 0;
}
