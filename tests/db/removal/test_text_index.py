"""SQLite's indexes of texts forget erased texts: at once as texts, and in parts once they are merged."""

from sqlalchemy import Connection, select, update

from db import text_indexes
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.removal import erasure
from db.runs.statistics import stats
from db.search import definitions, switch
from domain.enums import RunStatus
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine.worker.maintenance import merge_forgotten_texts
from tests.support import factory

_run = table(FlowRun).c
SECRET = "zoequx"


def parts(conn: Connection, index: str = text_indexes.ERROR_TEXT) -> int:
    """Returns how many pages of the index have a part of the text."""
    if conn.dialect.name != "sqlite":
        return 0
    blocks = conn.exec_driver_sql(f"SELECT block FROM {index}_data").scalars()
    return sum(SECRET[:3].encode() in block or SECRET[2:5].encode() in block for block in blocks)


def found(conn: Connection, text: str) -> int:
    """Returns the number of runs whose error contains a text."""
    where = RunFilter(error_contains=text, archived=Archived.INCLUDE)
    return sum(stats.counts(conn, where, clock.now()).values())


async def test_forgotten_texts_leave_nothing_in_the_index(database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)
    row = {"status": RunStatus.FAILED, "error_code": "HTTP_STATUS"}
    rows = [{**row, "error_message": f"Refused {SECRET} {number}"} for number in range(50)]
    kept, *erased = await database.write(factory.make_runs, published, rows)
    await database.write(factory.make_runs, published, [{**row, "error_message": f"Another {n}"} for n in range(50)])
    assert (await database.read(found, SECRET), await database.read(found, "another 7")) == (50, 1)

    def erase(uow: UnitOfWork) -> None:
        text_indexes.forget(uow.conn, erased)
        of_erased = update(table(FlowRun)).where(_run.id.in_(erased))
        uow.conn.execute(of_erased.values(error_message="Erased.", error_folded=None))

    await database.write(erase)
    assert (await database.read(found, SECRET), await database.read(found, "erased")) == (1, 49)
    message = update(table(FlowRun)).where(_run.id == kept).values(error_message="Changed", error_folded=None)
    await database.write(lambda uow: uow.conn.execute(message))
    await database.write(lambda uow: text_indexes.forget(uow.conn, [kept]))
    await merge_forgotten_texts(database)
    assert await database.read(parts) == 0
    assert (await database.read(found, SECRET), await database.read(found, "erased")) == (0, 49)
    assert not await database.write(text_indexes.merge_forgotten, 1)


async def test_the_search_forgets_erased_payloads(database: Database) -> None:
    await database.write(switch.switch_on)
    published = await database.write(factory.make_project_with_flow)
    rows = [{"input": f'"{SECRET} {number}"', "output": f'"{SECRET}"'} for number in range(50)]
    erased = await database.write(factory.make_runs, published, rows)
    kept = await database.write(factory.make_runs, published, [{"input": f'"Another {n}"'} for n in range(50)])
    assert await database.read(parts, definitions.INDEX) > 0 or database.dialect != "sqlite"
    await database.write(erasure.erase, erased, clock.now())
    await merge_forgotten_texts(database)
    assert await database.read(parts, definitions.INDEX) == 0
    assert not await database.write(switch.merge_forgotten, 1)
    where = RunFilter(search="another", archived=Archived.INCLUDE)
    assert sum((await database.read(stats.counts, where, clock.now())).values()) == len(kept)


async def test_an_index_of_an_earlier_version_is_made_again(database: Database) -> None:
    if database.dialect != "sqlite":
        return
    published = await database.write(factory.make_project_with_flow)
    row = {"status": RunStatus.FAILED, "error_message": f"Refused {SECRET}"}
    (run,) = await database.write(factory.make_runs, published, [row])

    def make_old(uow: UnitOfWork) -> None:
        for statement in (
            f"DROP TABLE {text_indexes.ERROR_TEXT}_row",
            f"DROP TABLE {text_indexes.ERROR_TEXT}",
            f"CREATE VIRTUAL TABLE {text_indexes.ERROR_TEXT} USING fts5(text, run_id UNINDEXED, tokenize = 'trigram')",
        ):
            uow.conn.exec_driver_sql(statement)

    await database.write(make_old)
    assert not await database.read(text_indexes.exists)
    assert await database.write(lambda uow: text_indexes.ensure(uow.conn))
    query = f"SELECT run_id FROM {text_indexes.ERROR_TEXT} WHERE {text_indexes.ERROR_TEXT} MATCH '\"{SECRET}\"'"
    indexed = await database.read(lambda conn: conn.exec_driver_sql(query).scalars().all())
    assert indexed == [run.hex]
    assert await database.read(lambda conn: conn.execute(select(_run.id)).scalars().all()) == [run]
