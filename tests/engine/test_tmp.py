from tests.engine.test_an_hour_without_kie import *
import cProfile, pstats
def test_time(make_world):
    p=cProfile.Profile(); p.enable()
    try:
        test_nobody_is_given_up_while_kie_fails_and_purchases_come_back_step_by_step(make_world, "time-outs")
    finally:
        p.disable()
        pstats.Stats(p).sort_stats("cumtime").print_stats(50)
