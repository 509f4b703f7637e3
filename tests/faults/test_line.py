"""The way to the API and to a webhook: garbled TLS, and a line that breaks at every turn."""

import ssl
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.fakes.receiver import Receiver
from tests.fakes.tcp import Fault, TcpProxy, Weather
from tests.faults.conftest import Witness
from tests.faults.stage import (
    ODD,
    SECRET,
    Clock,
    Stage,
    accepted,
    campaign,
    webhook_plan,
)
from tests.faults.wild import WildApi
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

_LOCALHOST: Final = Path(__file__).parents[1] / "comms" / "localhost.pem"
# a stall need not be longer than the patience of `Stage`, which is 1 s
_CALM: Final = Weather(stall=1.2)


async def test_a_garbled_handshake(tmp_path: Path, clock: Clock, witness: Witness) -> None:
    """TLS that fails is logged as such; once it works all continues."""
    speaks, trusts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    speaks.load_cert_chain(_LOCALHOST)
    trusts.load_verify_locations(_LOCALHOST)
    with WildApi(tls=speaks) as api, TcpProxy(api.base_url, script=[Fault.GARBLE] * 4) as line:
        stage = Stage(api=api, directory=tmp_path, clock=clock, logs=witness.logs)
        transport = httpx.AsyncHTTPTransport(verify=trusts, trust_env=False)
        await stage.play(campaign(ODD), base_url=line.url, transport=transport)
    failures = [found for found in stage.logs if found["event"] == "poll.failed"]
    assert len(failures) == line.met[Fault.GARBLE] == 4
    assert all("TLS" in found["error"] for found in failures)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.DELAY])
async def test_a_line_that_breaks(stage: Stage, fault: Fault) -> None:
    """Each way of breaking costs some attempts, on the way to the API and to the webhook."""
    # one good answer in between, but for what meets connections: a good one stays open
    script = [fault] * 3 if fault is Fault.REFUSE else [fault, None, fault, fault]
    stage.script(ODD, campaign(ODD))
    with Receiver(secret=SECRET) as receiver:
        api = TcpProxy(stage.api.base_url, script=script, weather=_CALM)
        hook = TcpProxy(receiver.url, script=script, weather=_CALM)
        with api, hook:
            sinks = [webhook_plan(hook.url, stage.clock)]
            async with stage.running(base_url=api.url, sinks=sinks) as show:
                await show.until(show.has_ended)
                made = len(show.events)
                await show.until(lambda: len(accepted(receiver.received)) == made)
                stage.clock.jump(60)
                await show.until(lambda: len(show.logged("delivery.done")) == 2 * made)
        check_promises(show.events)
        check_promises(accepted(receiver.received))
    assert api.met[fault] == hook.met[fault] == 3
    # an answer in two pieces may meet two of them
    assert 2 <= len(show.logged("poll.failed")) <= 3
