"""The loops that hand rules of keys to gateways: one beside that of each deployment with keys."""

from tests.wiring.conftest import LLD, NAMESPACE, Api, deployment, operator_running


async def test_rules_have_a_loop_where_the_spec_asks_for_keys_and_only_there(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("open"))
        keyed = deployment("keyed")
        keyed["spec"]["access"] = {"mode": "keys"}
        await api.create(LLD, keyed)
        await op.until(lambda: bool(op.passes_of("open") and op.access_passes), "first passes")
        await op.quiet()
        assert {body["metadata"]["name"] for body in op.access_passes} == {"keyed"}
        await api.patch(LLD, "keyed", {"spec": {"access": {"mode": "open"}}})
        await op.until(lambda: op.access_passes[-1]["spec"]["access"] == {"mode": "open"}, "its edit is seen")
        await op.quiet()
        before, ended = len(op.access_passes), list(op.ended)
        await api.patch(LLD, "keyed", {"spec": {"access": None}})
        await op.until(lambda: not op.access_loops.running, "its loop ends with the field")
        await op.quiet()
        assert len(op.access_passes) == before
        assert op.ended == ended, "its deployment is still there, and is remembered"


async def test_a_change_of_keys_wakes_the_loops_of_its_namespace(api: Api) -> None:
    async with operator_running() as op:
        keyed = deployment("keyed")
        keyed["spec"]["access"] = {"mode": "keys"}
        await api.create(LLD, keyed)
        await op.until(lambda: bool(op.access_passes), "a first pass")
        await op.quiet()
        before = len(op.access_passes)
        op.access_loops.wake_namespace("elsewhere")
        await op.quiet()
        assert len(op.access_passes) == before
        op.access_loops.wake_namespace(NAMESPACE)
        await op.until(lambda: len(op.access_passes) > before, "a pass after the change")


async def test_a_deployment_that_goes_ends_both_of_its_loops(api: Api) -> None:
    async with operator_running() as op:
        keyed = deployment("keyed")
        keyed["spec"]["access"] = {"mode": "keys"}
        await api.create(LLD, keyed)
        await op.until(lambda: len(op.heartbeat.due) == 2, "both loops have run")
        await api.delete(LLD, "keyed")
        await op.until(lambda: not op.heartbeat.due, "both have ended")
