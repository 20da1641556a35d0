/* Allocations from the heap, counted by the allocator of this program (test_allocation.c). */
#ifndef TESTS_STACK_ALLOCATION_COUNT_H
#define TESTS_STACK_ALLOCATION_COUNT_H

void allocation_count_begin(void);

/** @return  allocations, of whatever kind, since it began */
unsigned long allocation_count_end(void);

#endif
