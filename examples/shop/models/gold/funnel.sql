-- How far the sessions of each day came.
with sessions as (
    select
        session_id,
        cast(min(occurred_at) as date) as day,
        bool_or(kind = 'view') as viewed,
        bool_or(kind = 'cart') as put_in_cart,
        bool_or(kind = 'checkout') as went_to_checkout,
        bool_or(kind = 'purchase') as bought
    from bronze.events
    group by session_id
)
select
    day,
    count(*) as sessions,
    sum(case when viewed then 1 else 0 end) as viewed,
    sum(case when put_in_cart then 1 else 0 end) as put_in_cart,
    sum(case when went_to_checkout then 1 else 0 end) as went_to_checkout,
    sum(case when bought then 1 else 0 end) as bought
from sessions
group by day
